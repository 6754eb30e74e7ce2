-- Take a part of an open job in: all of it, or nothing.
--
-- KEYS  job, part, images, staged, staged_images, outstanding, outstanding_images, held, queue,
--       parts, finished, and in a lane whose jobs take turns: waiting, turn
-- ARGV  now, deadline (both Unix seconds), results' time to live (s), channel, job id, number of
--       the part, its items, images that need a worker, their bytes, member of `outstanding`,
--       message, of the known items those that succeeded and those that failed, model version,
--       then the indexes of the known items
-- Gives a word, and with `new` and `stored` the number of parts that are missing: `new`,
-- `stored` (then the record of the part that is here), `closed`, `unknown`, `lost`.
local found = redis.call('HMGET', KEYS[1], 'state', 'total', 'received', 'started_at', 'claim',
                         'webhook')
local state, total, received = found[1], tonumber(found[2]), found[3]
local function missing()
  return math.ceil(total / 32) - redis.call('BITCOUNT', KEYS[10]) -- shared.jobs.PART_SIZE
end
local refused
if not state then
  refused = { 'unknown' }
elseif not received or state == 'cancelled' then
  refused = { 'closed' }
elseif redis.call('GETBIT', KEYS[10], ARGV[6]) == 1 then
  refused = { 'stored', missing(), redis.call('HGET', KEYS[2], 'spec') }
elseif redis.call('HLEN', KEYS[5]) ~= tonumber(ARGV[8]) then
  refused = { 'lost' } -- it took so long that what came first has expired
end
if refused then
  redis.call('UNLINK', KEYS[4], KEYS[5])
  return refused
end

redis.call('SETBIT', KEYS[10], ARGV[6], 1)
redis.call('RENAME', KEYS[4], KEYS[2])
redis.call('EXPIRE', KEYS[2], 2 * ARGV[3])
local pending, bytes = tonumber(ARGV[8]), tonumber(ARGV[9])
if pending > 0 then
  redis.call('RENAME', KEYS[5], KEYS[3])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
  redis.call('HSET', KEYS[8], KEYS[2], bytes)
  if KEYS[12] then
    wait_turn(KEYS[1], KEYS[2], KEYS[12], KEYS[13], KEYS[6], ARGV[10], ARGV[11], ARGV[2])
    feed(KEYS[12], KEYS[13], KEYS[9], KEYS[6], KEYS[7], KEYS[8], ARGV[2], 0)
  else
    redis.call('ZADD', KEYS[6], ARGV[2], ARGV[10])
    redis.call('LPUSH', KEYS[9], ARGV[11])
  end
end
received = redis.call('HINCRBY', KEYS[1], 'received', ARGV[7])
local succeeded = redis.call('HINCRBY', KEYS[1], 'succeeded', ARGV[12])
local failed = redis.call('HINCRBY', KEYS[1], 'failed', ARGV[13])
redis.call('HINCRBY', KEYS[1], 'cached', ARGV[12])
redis.call('HSET', KEYS[1], 'expires_at', ARGV[1] + ARGV[3])
if ARGV[14] ~= '' then
  redis.call('HSET', KEYS[1], 'model_version', ARGV[14])
end
if total > 1 and #ARGV > 14 then
  tell_finished(KEYS[11], { unpack(ARGV, 15) }, ARGV[3])
end
-- Each part lives as long as the job at least. Now and then is enough: a loop over all parts for
-- each part would be a square.
if redis.call('TTL', KEYS[1]) < 1.75 * ARGV[3] then
  keep(KEYS[1], ARGV[5], total, found[5], 2 * ARGV[3])
end

state = 'running'
if succeeded + failed == total then
  state = 'completed'
  redis.call('HSETNX', KEYS[1], 'started_at', ARGV[1])
  complete(KEYS[1], ARGV[5], total, found[5], ARGV[1], ARGV[3], found[6])
elseif received == total then
  redis.call('HSET', KEYS[1], 'state', found[4] and 'running' or 'queued')
end
redis.call('PUBLISH', ARGV[4], ARGV[5] .. ' ' .. state)
return { 'new', missing(), redis.call('INCRBY', KEYS[7], pending),
         redis.call('HINCRBY', KEYS[8], 'total', bytes) }
