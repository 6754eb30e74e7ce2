-- Lease webhooks that are due: no other worker delivers them until the lease ends.
--
-- runs in a full Redis
-- uses: webhooks/under_way
-- keys: webhooks_due, webhooks_under_way
-- arguments: now, lease_until, most, most_of_host, most_of_client, examined, later, apart
-- The times are in Unix seconds. At most `most` webhooks are leased, and at most `most_of_host` of
-- each host at a time. A client has at most as many as it leaves of twice `most_of_client`, and a
-- first one in any case. If many wait for that, `examined` of them are due again `later`, so that
-- the next call gets to the others. Those of one client are due again one after the other, so many
-- seconds `apart`. A client with any number of them then leaves time to examine those of others.
-- Returns their job ids, the longest due first.
local function count(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return redis.call('ZCARD', key)
end

local function may_have_more(client)
  local has = count(client)
  return has == 0 or has + 1 <= 2 * most_of_client - count(webhooks_under_way)
end

local function add(key, job_id)
  if key then
    redis.call('ZADD', key, lease_until, job_id)
    -- Twice the lease, because the start of the try extends it once.
    redis.call('EXPIRE', key, math.ceil(2 * (lease_until - now)))
  end
end

-- Let a webhook be due again later.
local function postpone(job_id)
  local client = redis.call('HGET', string.format(JOB_KEY, job_id), 'client')
  local latest = string.format(WEBHOOK_LATER_KEY, client or '')
  local at = math.max(later, (redis.call('GET', latest) or 0) + apart)
  redis.call('SET', latest, at, 'EX', math.ceil(at - now))
  redis.call('ZADD', webhooks_due, at, job_id)
end

local due = redis.call('ZRANGEBYSCORE', webhooks_due, '-inf', now, 'LIMIT', 0, examined)
local leased, waiting = {}, {}
for _, job_id in ipairs(due) do
  if #leased == tonumber(most) then
    return leased
  end
  local of_host, of_client = sets_of(string.format(JOB_KEY, job_id))
  if (not of_host or count(of_host) < tonumber(most_of_host)) and
     (not of_client or may_have_more(of_client)) then
    redis.call('ZADD', webhooks_due, lease_until, job_id)
    add(webhooks_under_way, job_id)
    add(of_host, job_id)
    add(of_client, job_id)
    leased[#leased + 1] = job_id
  else
    waiting[#waiting + 1] = job_id
  end
end
if #due == tonumber(examined) then
  for _, job_id in ipairs(waiting) do
    postpone(job_id)
  end
end
return leased
