-- Queue a part again that a worker has taken and not finished. Its start, if any, does not count.
--
-- runs in a full Redis
-- keys: outstanding, queue, part, ready
-- arguments: member, attempts_field, deadline, message
-- row arguments: slow
-- `attempts_field` is empty if it was not started. `deadline` is in Unix seconds. `ready` counts what
-- is queued, and is empty in the lane `bulk`. A row is the field that marks an image as slow to
-- decode.
-- Returns 1, or 0 if the part is no longer outstanding or has expired.
if not redis.call('ZSCORE', outstanding, member) or redis.call('EXISTS', part) == 0 then
  return 0
end
if attempts_field ~= '' then
  redis.call('HINCRBY', part, attempts_field, -1)
end
for slow in rows() do
  redis.call('HSET', part, slow, 1)
end
redis.call('ZADD', outstanding, 'XX', deadline, member)
redis.call('LPUSH', queue, message)
if ready ~= '' then
  redis.call('ZADD', ready, deadline, member)
  redis.call('EXPIRE', ready, 6 * READY_SECONDS)
end
return 1
