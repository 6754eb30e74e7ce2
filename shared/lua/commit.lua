-- Write outcomes of a part's items, each once: a second delivery changes nothing.
--
-- KEYS  job, part, images, outstanding, outstanding_images, held, drained in this second
-- ARGV  now (Unix seconds), member of `outstanding`, job id, model version, results' time to live (s),
--       channel, `whole` or `single` (what the member stands for), then for each item: field,
--       state, outcome (JSON)
-- Gives the number of outcomes that were new.
local total = tonumber(redis.call('HGET', KEYS[1], 'total'))
if not total then
  return 0 -- expired; the next start of the part clears `outstanding`
end

local new = { succeeded = 0, failed = 0 }
for i = 8, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 2]) == 1 then
    local state = ARGV[i + 1]
    new[state] = new[state] + 1
  end
end
local written = new.succeeded + new.failed
if written == 0 then
  return 0
end

redis.call('DECRBY', KEYS[5], written)
redis.call('INCRBY', KEYS[7], written)
redis.call('EXPIRE', KEYS[7], 30)
local pending = redis.call('HINCRBY', KEYS[2], 'pending', -written)
if pending == 0 then
  redis.call('UNLINK', KEYS[3])
  -- As many bytes as were added for this part, and only once.
  local bytes = redis.call('HGET', KEYS[6], KEYS[2])
  if bytes then
    redis.call('HDEL', KEYS[6], KEYS[2])
    redis.call('HINCRBY', KEYS[6], 'total', -bytes)
  end
end
if pending == 0 or ARGV[7] == 'single' then
  redis.call('ZREM', KEYS[4], ARGV[2])
end

local succeeded = redis.call('HINCRBY', KEYS[1], 'succeeded', new.succeeded)
local failed = redis.call('HINCRBY', KEYS[1], 'failed', new.failed)
redis.call('HSET', KEYS[1], 'model_version', ARGV[4])
local state = 'running'
if succeeded + failed == total then
  state = 'completed'
  redis.call('HSET', KEYS[1], 'state', state, 'finished_at', ARGV[1],
             'expires_at', ARGV[1] + ARGV[5])
  -- Results live for their full time after the end, however long the job took.
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  for n = 0, tonumber(redis.call('HGET', KEYS[1], 'parts')) - 1 do
    redis.call('EXPIRE', 'part:' .. ARGV[3] .. ':' .. n, ARGV[5])
  end
end
local notice = ARGV[3] .. ' ' .. state
if total == 1 then
  notice = notice .. ' ' .. ARGV[10] -- who waits for one picture need not read it again
end
redis.call('PUBLISH', ARGV[6], notice)
return written
