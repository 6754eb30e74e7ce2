-- End a job where it stands. Its parts are released afterwards: by who cancels it, and should that
-- one die by the next start of each.
--
-- KEYS  job
-- ARGV  now (Unix seconds), results' time to live (s), channel, job id
-- Gives 1, or 0 where it has ended already or is unknown.
local found = redis.call('HMGET', KEYS[1], 'state', 'total', 'succeeded', 'failed', 'claim',
                         'webhook')
local state = found[1]
if not state or state == 'completed' or state == 'cancelled' then
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'cancelled', 'cancelled', found[2] - found[3] - found[4],
           'finished_at', ARGV[1], 'expires_at', ARGV[1] + ARGV[2])
keep(KEYS[1], ARGV[4], tonumber(found[2]), found[5], ARGV[2])
note_webhook(found[6], ARGV[4], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' cancelled')
return 1
