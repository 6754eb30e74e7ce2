-- Put a dead letter back: its item waits again, and will be tried alone.
--
-- KEYS  job, part, images, outstanding, outstanding_images, queue, dead_letters, dead_image, held,
--       and where the request was claimed, the claim
-- ARGV  member, position in the part, deadline, message, and what the claim is to say, for so long
--       (s)
-- Gives 1, or 0 where there is no such letter or its job has expired or was cancelled.
local data = redis.call('GET', KEYS[8])
local outcome = redis.call('HGET', KEYS[2], 'r' .. ARGV[2]) or ''
local state = redis.call('HGET', KEYS[1], 'state')
if redis.call('HDEL', KEYS[7], ARGV[1]) == 0 or not data or
   not state or state == 'cancelled' or redis.call('EXISTS', KEYS[2]) == 0 or
   not string.find(outcome, '"state":"failed"', 1, true) then
  return 0
end
redis.call('DEL', KEYS[8])
redis.call('HDEL', KEYS[2], 'r' .. ARGV[2], 'attempts:' .. ARGV[2])
redis.call('HINCRBY', KEYS[2], 'pending', 1)
redis.call('HSET', KEYS[3], ARGV[2], data)
redis.call('HINCRBY', KEYS[9], KEYS[2], #data)
redis.call('HINCRBY', KEYS[9], 'total', #data)
redis.call('HINCRBY', KEYS[1], 'failed', -1)
if state == 'completed' then
  redis.call('HSET', KEYS[1], 'state', 'running')
  redis.call('HDEL', KEYS[1], 'finished_at')
end
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
redis.call('INCRBY', KEYS[5], 1)
redis.call('LPUSH', KEYS[6], ARGV[4])
if KEYS[10] then
  redis.call('SET', KEYS[10], ARGV[5], 'EX', ARGV[6])
end
return 1
