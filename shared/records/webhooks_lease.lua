-- Lease webhooks that are due: no other worker delivers them until the lease ends.
--
-- KEYS  webhooks_due
-- ARGV  now, the end of the leases (both Unix seconds), how many at most
-- Returns their job ids, the longest due first.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, job_id in ipairs(due) do
  redis.call('ZADD', KEYS[1], ARGV[2], job_id)
end
return due
