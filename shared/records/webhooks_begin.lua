-- Start on a try, if the webhook is still as it was taken.
--
-- KEYS  webhooks_due, job
-- ARGV  job id, the time that was seen, until when the try may take
-- Gives the number of the try; 0 where another has taken it, or it has been delivered.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0 -- expired: nothing is left to tell
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return redis.call('HINCRBY', KEYS[2], 'webhook_tries', 1)
