-- The deliveries that are under way to one host, and those of one client: sorted sets of job ids by
-- the end of their leases.

-- The keys of these sets for the webhook of a job. There are none if the job or its webhook is gone.
-- A job of an earlier release has no client.
local function sets_of(job)
  local url, client = unpack(redis.call('HMGET', job, 'webhook', 'client'))
  local host = url and (url:match('^%a+://(%[[^%]]*%])') or url:match('^%a+://([^/:?#]*)'))
  return host and string.format(WEBHOOK_HOST_KEY, host:lower()),
         client and string.format(WEBHOOK_CLIENT_KEY, client)
end
