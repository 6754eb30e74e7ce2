-- The deliveries of one host: a sorted set of job ids by the end of their leases.

-- The key of the set for the receiver of a job; nil if the job or its webhook is gone.
local function host_key(job)
  local url = redis.call('HGET', job, 'webhook')
  local host = url and (url:match('^%a+://(%[[^%]]*%])') or url:match('^%a+://([^/:?#]*)'))
  return host and string.format(WEBHOOK_HOST_KEY, host:lower())
end
