-- Write outcomes of a part's items, each once: a second delivery changes nothing.
--
-- KEYS  job, part, images, outstanding, outstanding_images, held, drained in this second, finished
-- ARGV  now (Unix seconds), member of `outstanding`, job id, model version or '', results' time to live (s),
--       channel, `whole` or `single` (what the member stands for), number of the part, then for
--       each item: field, state, outcome (JSON)
-- Gives the number of outcomes that were new.
local found = redis.call('HMGET', KEYS[1], 'total', 'state', 'claim', 'webhook')
local total = tonumber(found[1])
if not total then
  return 0 -- expired; the next start of the part clears `outstanding`
end
if found[2] == 'cancelled' then
  release(ARGV[3] .. ':' .. ARGV[8], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
  return 0
end

local new = { succeeded = 0, failed = 0 }
local indexes = {}
for i = 9, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 2]) == 1 then
    local state = ARGV[i + 1]
    new[state] = new[state] + 1
    indexes[#indexes + 1] = ARGV[8] * 32 + ARGV[i]:sub(2) -- shared.jobs.PART_SIZE
  end
end
local written = #indexes
if written == 0 then
  return 0
end

redis.call('DECRBY', KEYS[5], written)
redis.call('INCRBY', KEYS[7], written)
redis.call('EXPIRE', KEYS[7], 30)
local pending = redis.call('HINCRBY', KEYS[2], 'pending', -written)
if pending == 0 then
  redis.call('UNLINK', KEYS[3])
  give_back_bytes(KEYS[6], KEYS[2])
end
if pending == 0 or ARGV[7] == 'single' then
  redis.call('ZREM', KEYS[4], ARGV[2])
end

local succeeded = redis.call('HINCRBY', KEYS[1], 'succeeded', new.succeeded)
local failed = redis.call('HINCRBY', KEYS[1], 'failed', new.failed)
if ARGV[4] ~= '' then -- pictures that are no good were seen by no model
  redis.call('HSET', KEYS[1], 'model_version', ARGV[4])
end
if total > 1 then
  tell_finished(KEYS[8], indexes, ARGV[5])
end
local notice = ARGV[3] .. ' running'
if succeeded + failed == total then
  complete(KEYS[1], ARGV[3], total, found[3], ARGV[1], ARGV[5], found[4])
  notice = ARGV[3] .. ' completed'
end
if total == 1 then
  notice = notice .. ' ' .. ARGV[11] -- who waits for one picture need not read it again
end
redis.call('PUBLISH', ARGV[6], notice)
return written
