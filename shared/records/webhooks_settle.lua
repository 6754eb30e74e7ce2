-- End a try, unless the job has ended again or another worker has leased the webhook meanwhile.
--
-- KEYS  webhooks_due
-- ARGV  job id, the end of the lease, when to try again (Unix seconds) or '' for never
-- Returns 1, or 0 if nothing was changed.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] == '' then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
