-- Lease webhooks that are due: no other worker delivers them until the lease ends.
--
-- uses: webhooks/host
-- keys: webhooks_due
-- arguments: now, lease_until, most, most_of_host, examined, later
-- The times are in Unix seconds. At most `most` webhooks are leased, and of each host at most
-- `most_of_host` at a time. If many wait for their host, `examined` of them are due again `later`,
-- so that the next call gets to the others.
-- Returns their job ids, the longest due first.
local due = redis.call('ZRANGEBYSCORE', webhooks_due, '-inf', now, 'LIMIT', 0, examined)
local leased, waiting = {}, {}
for _, job_id in ipairs(due) do
  if #leased == tonumber(most) then
    return leased
  end
  local key = host_key(string.format(JOB_KEY, job_id))
  local busy = 0
  if key then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    busy = redis.call('ZCARD', key)
  end
  if busy < tonumber(most_of_host) then
    redis.call('ZADD', webhooks_due, lease_until, job_id)
    if key then
      redis.call('ZADD', key, lease_until, job_id)
      -- Twice the lease, because the start of the try extends it once.
      redis.call('EXPIRE', key, math.ceil(2 * (lease_until - now)))
    end
    leased[#leased + 1] = job_id
  else
    waiting[#waiting + 1] = job_id
  end
end
if #due == tonumber(examined) then
  for _, job_id in ipairs(waiting) do
    redis.call('ZADD', webhooks_due, later, job_id)
  end
end
return leased
