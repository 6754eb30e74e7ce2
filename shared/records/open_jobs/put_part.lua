-- Accept a part of an open job: all of it, or nothing.
--
-- uses: holding, ending/complete, fairness/rounds
-- keys: job, part, images, staged, staged_images, outstanding_images, held, queue, parts, finished
-- arguments: job_id, number, member, message, item_count, pending, bytes
-- arguments: succeeded, failed, model_version, now, deadline, ttl
-- arguments: client, lane, kept, day, life
-- row arguments: index
-- `pending` images need a worker, and have so many `bytes`. The result cache answered the other
-- items, or they are refused: so many `succeeded` and `failed`, with this `model_version` or an empty
-- one. A row is one of these items. `now` and `deadline` are in Unix seconds; `ttl` is the results'
-- time to live in seconds. `client` has sent the part, or is empty; its account lives for `life`
-- seconds. The part's records have so many bytes `kept`.
-- Returns a word first. `new`: the number of missing parts, the images that are outstanding in the
-- lane, the bytes that are held. `stored`, if the part was here: the number of missing parts and the
-- part's `spec`. `closed`, `unknown` and `lost` come alone.
local state, total, received, started_at, claim, webhook = unpack(redis.call(
  'HMGET', job, 'state', 'total', 'received', 'started_at', 'claim', 'webhook'))
total = tonumber(total)
local function missing()
  return math.ceil(total / PART_SIZE) - redis.call('BITCOUNT', parts)
end
local refusal
if not state then
  refusal = { 'unknown' }
elseif not received or state == 'cancelled' then
  refusal = { 'closed' }
elseif redis.call('GETBIT', parts, number) == 1 then
  refusal = { 'stored', missing(), redis.call('HGET', part, 'spec') }
elseif redis.call('HLEN', staged_images) ~= tonumber(pending) then
  -- The upload took so long that its first images have expired.
  refusal = { 'lost' }
end
if refusal then
  redis.call('UNLINK', staged, staged_images)
  return refusal
end

redis.call('SETBIT', parts, number, 1)
redis.call('RENAME', staged, part)
redis.call('EXPIRE', part, 2 * ttl)
if tonumber(pending) > 0 then
  redis.call('RENAME', staged_images, images)
  redis.call('EXPIRE', images, ttl)
  redis.call('HSET', held, part, bytes)
  charge(part, tonumber(pending), tonumber(bytes), lane, client)
  wait_for_round(queue, job, part, member, message, deadline)
  feed(queue, deadline, 0)
end
keep(job, kept, now)
if client ~= '' then
  count_today(client, item_count, now, day, life)
end
received = redis.call('HINCRBY', job, 'received', item_count)
local all_succeeded = redis.call('HINCRBY', job, 'succeeded', succeeded)
local all_failed = redis.call('HINCRBY', job, 'failed', failed)
redis.call('HINCRBY', job, 'cached', succeeded)
redis.call('HSET', job, 'expires_at', now + ttl)
if model_version ~= '' then
  redis.call('HSETNX', job, 'model_version', model_version)
end
local indexes = {}
for index in rows() do
  indexes[#indexes + 1] = index
end
if total > 1 and #indexes > 0 then
  add_finished(finished, indexes, ttl)
end
-- Each part must live as long as the job. The loop over all parts runs only now and then: for each
-- part it would cost the square of their number.
if redis.call('TTL', job) < 1.75 * ttl then
  expire(job, job_id, total, claim, now, 2 * ttl)
end

state = 'running'
if all_succeeded + all_failed == total then
  state = 'completed'
  redis.call('HSETNX', job, 'started_at', now)
  complete(job, job_id, total, claim, now, ttl, webhook)
elseif received == total then
  redis.call('HSET', job, 'state', started_at and 'running' or 'queued')
end
redis.call('PUBLISH', COMMITTED, job_id .. ' ' .. state)
return { 'new', missing(), redis.call('INCRBY', outstanding_images, pending),
         redis.call('HINCRBY', held, 'total', bytes) }
