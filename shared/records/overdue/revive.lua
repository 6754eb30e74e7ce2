-- Retry a dead letter: its item waits again, and will be tried alone.
--
-- uses: holding, ending/complete
-- keys: job, part, images, outstanding, outstanding_images, held, queue, dead_letters, dead_image
-- keys: claim
-- arguments: member, position, outcome_field, attempts_field, deadline, message
-- arguments: claim_value, claim_seconds, job_id, lane, now, ttl
-- `position` is that of the item in its part. `deadline` is in Unix seconds. `claim` is empty if the
-- request had none; otherwise it gets the value, for so many seconds.
-- `now` is in Unix seconds; `ttl` is the results' time to live in seconds.
-- Returns 1. Returns 0 if there is no such letter, if its job has expired or was cancelled, or if a
-- slow worker has committed another outcome, which stands.
local data = redis.call('GET', dead_image)
local outcome = redis.call('HGET', part, outcome_field) or ''
local state = redis.call('HGET', job, 'state')
if redis.call('HDEL', dead_letters, member) == 0 or not data or
   not state or state == 'cancelled' or redis.call('EXISTS', part) == 0 or
   not string.find(outcome, '"code":"worker_lost"', 1, true) then
  return 0
end
redis.call('DEL', dead_image)
redis.call('HDEL', part, outcome_field, attempts_field)
local pending = redis.call('HINCRBY', part, 'pending', 1)
-- The image may still be there, for the part's other images. Or all of them have expired, and their
-- bytes are counted until the part ends.
local counted = redis.call('HGET', held, part) or 0
local bytes = redis.call('EXISTS', images) == 1 and counted or 0
if redis.call('HSET', images, position, data) == 1 then
  bytes = bytes + #data
end
redis.call('EXPIRE', images, ttl)
redis.call('HSET', held, part, bytes, left_field(part), pending)
redis.call('HINCRBY', held, 'total', bytes - counted)
charge(part, 1, bytes - counted, lane, redis.call('HGET', job, 'client'))
redis.call('HINCRBY', job, 'failed', -1)
if state == 'completed' then
  redis.call('HSET', job, 'state', 'running')
  -- The next end has a webhook of its own, with its own tries.
  redis.call('HDEL', job, 'finished_at', 'webhook_tries', 'webhook_last')
end
redis.call('ZADD', outstanding, deadline, member)
redis.call('INCRBY', outstanding_images, 1)
redis.call('LPUSH', queue, message)
-- The job lives on as if the image had just been accepted. It may have been about to expire.
local total, job_claim = unpack(redis.call('HMGET', job, 'total', 'claim'))
redis.call('HSET', job, 'expires_at', now + ttl)
expire(job, job_id, tonumber(total), job_claim, now, 2 * ttl)
if claim ~= '' then
  redis.call('SET', claim, claim_value, 'EX', claim_seconds)
end
return 1
