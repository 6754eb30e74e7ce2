-- The last step of cancel.lua and abandon.lua. It needs complete.lua.

-- Cancel a job, unless it has ended. Its parts are not released here, because there may be many:
-- the canceller releases them afterwards. If the canceller dies, each part is released when a
-- worker starts on it. Returns 1, or 0 if the job has ended already or is unknown.
local function cancel(job, job_id, now, ttl)
  local state, total, succeeded, failed, claim, webhook = unpack(redis.call(
    'HMGET', job, 'state', 'total', 'succeeded', 'failed', 'claim', 'webhook'))
  if not state or state == 'completed' or state == 'cancelled' then
    return 0
  end
  redis.call('HSET', job, 'state', 'cancelled', 'cancelled', total - succeeded - failed,
             'finished_at', now, 'expires_at', now + ttl)
  expire(job, job_id, tonumber(total), claim, now, ttl)
  add_webhook(webhook, job_id, now)
  redis.call('PUBLISH', COMMITTED, job_id .. ' cancelled')
  return 1
end
