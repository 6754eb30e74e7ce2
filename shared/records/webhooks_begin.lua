-- Start a try, if this worker still holds the lease.
--
-- KEYS  webhooks_due, job
-- ARGV  job id, the end of the lease, the new end of the lease
-- Returns the number of the try; 0 if another worker holds the lease or the webhook is settled.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0 -- The job has expired, so there is nothing to deliver.
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return redis.call('HINCRBY', KEYS[2], 'webhook_tries', 1)
