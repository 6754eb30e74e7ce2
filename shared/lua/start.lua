-- A worker starts on a part: count the attempt, push its deadline out, hand over its record.
--
-- KEYS  job, part, outstanding, outstanding_images, held
-- ARGV  now, deadline (both Unix seconds), member of `outstanding`, images in the part,
--       field that counts its attempts, most attempts, for a single image the field of its outcome
-- Gives the part's fields as HGETALL does, or nil where nothing is to be done: a second delivery,
-- or a part that has been tried often enough and is the reconciler's.
if not redis.call('ZSCORE', KEYS[3], ARGV[3]) then
  return nil
end
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then
  -- Its records have expired: nobody can read an answer any more.
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('DECRBY', KEYS[4], ARGV[4])
  local bytes = redis.call('HGET', KEYS[5], KEYS[2])
  if bytes then
    redis.call('HDEL', KEYS[5], KEYS[2])
    redis.call('HINCRBY', KEYS[5], 'total', -bytes)
  end
  return nil
end
if redis.call('HGET', KEYS[2], 'pending') == '0' or
   (ARGV[7] ~= '' and redis.call('HEXISTS', KEYS[2], ARGV[7]) == 1) then
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
if redis.call('HGET', KEYS[1], 'state') == 'queued' then
  redis.call('HSET', KEYS[1], 'state', 'running', 'started_at', ARGV[1])
end
return redis.call('HGETALL', KEYS[2])
