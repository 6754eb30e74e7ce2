-- Write outcomes of a part's items, each at most once: a second delivery changes nothing.
--
-- runs in a full Redis
-- uses: holding, ending/complete
-- keys: job, part, images, outstanding, outstanding_images, held, drained, finished
-- arguments: job_id, number, member, whole, model_version, now, ttl
-- row arguments: position, state, outcome, embedding
-- `number` and `member` are those of the PartRef. `whole` is 1 if it stands for the whole
-- part, 0 for a single image. `model_version` is empty if no model saw the images. `now` is in Unix
-- seconds, and `drained` counts the images of that second. `ttl` is the results' time to live in
-- seconds. A row is an item; `outcome` is JSON, and `embedding` is empty unless the job asks for it.
-- Returns the number of outcomes that were new.
local total, job_state, claim, webhook = unpack(redis.call(
  'HMGET', job, 'total', 'state', 'claim', 'webhook'))
total = tonumber(total)
if not total then
  -- The job has expired. The next start of the part removes it from `outstanding`.
  return 0
end
if job_state == 'cancelled' then
  release(job_id .. ':' .. number, part, images, outstanding, outstanding_images, held)
  left_queue(member)
  return 0
end

local new = { succeeded = 0, failed = 0 }
local positions, indexes = {}, {}
local last_outcome
for position, state, outcome, embedding in rows() do
  if redis.call('HSETNX', part, 'r' .. position, outcome) == 1 then
    if embedding ~= '' then
      redis.call('HSET', part, 'e' .. position, embedding)
    end
    new[state] = new[state] + 1
    positions[#positions + 1] = position
    indexes[#indexes + 1] = number * PART_SIZE + position
  end
  last_outcome = outcome
end
local written = #positions
if written == 0 then
  -- All of them had outcomes. After a split, somebody who had the whole part may have given them.
  if last_outcome and (whole == '0' or redis.call('HGET', part, 'pending') == '0') then
    redis.call('ZREM', outstanding, member)
  end
  return 0
end

redis.call('DECRBY', outstanding_images, written)
redis.call('INCRBY', drained, written)
redis.call('EXPIRE', drained, 30)
local pending = redis.call('HINCRBY', part, 'pending', -written)
if pending == 0 then
  redis.call('UNLINK', images)
  give_back_bytes(held, part)
else
  redis.call('HSET', held, left_field(part), pending)
  give_back_images(held, part, images, positions)
end
if pending == 0 or whole == '0' then
  redis.call('ZREM', outstanding, member)
end

local succeeded = redis.call('HINCRBY', job, 'succeeded', new.succeeded)
local failed = redis.call('HINCRBY', job, 'failed', new.failed)
if model_version ~= '' then
  redis.call('HSETNX', job, 'model_version', model_version)
end
if total > 1 then
  add_finished(finished, indexes, ttl)
end
local notice = job_id .. ' running'
if succeeded + failed == total then
  complete(job, job_id, total, claim, now, ttl, webhook)
  notice = job_id .. ' completed'
end
if total == 1 then
  -- A client that waits for one picture gets the outcome here, without another read.
  notice = notice .. ' ' .. last_outcome
end
redis.call('PUBLISH', COMMITTED, notice)
return written
