-- Lease webhooks that are due: no other worker delivers them until the lease ends.
--
-- keys: webhooks_due
-- arguments: now, lease_until, most
-- Both times are in Unix seconds. At most `most` webhooks are leased.
-- Returns their job ids, the longest due first.
local due = redis.call('ZRANGEBYSCORE', webhooks_due, '-inf', now, 'LIMIT', 0, most)
for _, job_id in ipairs(due) do
  redis.call('ZADD', webhooks_due, lease_until, job_id)
end
return due
