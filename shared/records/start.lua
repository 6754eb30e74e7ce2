-- A worker starts on a part: count the attempt, push its deadline out, hand over its record.
--
-- KEYS  job, part, outstanding, outstanding_images, held, images
-- ARGV  now, deadline (both Unix seconds), member of `outstanding`, images in the part,
--       field that counts its attempts, most attempts, for a single image the field of its outcome,
--       job and part as `outstanding` names them
-- Gives the part's fields as HGETALL does, or nil where nothing is to be done: a second delivery,
-- or a part that has been tried often enough and is the reconciler's.
if not redis.call('ZSCORE', KEYS[3], ARGV[3]) then
  return nil
end
local state = redis.call('HGET', KEYS[1], 'state')
local pending = redis.call('HGET', KEYS[2], 'pending')
if not state or not pending then
  -- Its records have expired: nobody can read an answer any more.
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('DECRBY', KEYS[4], ARGV[4])
  give_back_bytes(KEYS[5], KEYS[2])
  return nil
end
if state == 'cancelled' then
  release(ARGV[8], KEYS[2], KEYS[6], KEYS[3], KEYS[4], KEYS[5])
  return nil
end
if pending == '0' or (ARGV[7] ~= '' and redis.call('HEXISTS', KEYS[2], ARGV[7]) == 1) then
  -- Split while it was being worked on after all, and committed as a whole.
  redis.call('ZREM', KEYS[3], ARGV[3])
  return nil
end
if tonumber(redis.call('HGET', KEYS[2], ARGV[5]) or 0) >= tonumber(ARGV[6]) then
  redis.call('ZADD', KEYS[3], 'XX', ARGV[1], ARGV[3])
  return nil
end
redis.call('ZADD', KEYS[3], 'XX', ARGV[2], ARGV[3])
redis.call('HINCRBY', KEYS[2], ARGV[5], 1)
if state == 'queued' then
  redis.call('HSET', KEYS[1], 'state', 'running', 'started_at', ARGV[1])
elseif state == 'receiving' then
  redis.call('HSETNX', KEYS[1], 'started_at', ARGV[1])
end
return redis.call('HGETALL', KEYS[2])
