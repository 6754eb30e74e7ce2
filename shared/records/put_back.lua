-- Queue parts again, in one message, that a worker has taken and not finished. Their start, if any,
-- does not count.
--
-- runs in a full Redis
-- keys: outstanding, queue, ready
-- arguments: deadline, message
-- row keys: part
-- row arguments: member, attempts_field, slow
-- `deadline` is in Unix seconds. `ready` counts what is queued, and is empty in the lane `bulk`. A row
-- is a part. `attempts_field` is empty if it was not started. An outage may have prevented the start,
-- so the attempts are not counted below 0. `slow` is the field that marks an image as slow to decode,
-- or empty. A part with several such images has a row for each.
-- Returns how many rows are queued. The others are no longer outstanding, or have expired.
local queued = 0
for part, member, attempts_field, slow in rows() do
  if redis.call('ZSCORE', outstanding, member) and redis.call('EXISTS', part) == 1 then
    queued = queued + 1
    if attempts_field ~= '' and tonumber(redis.call('HGET', part, attempts_field) or 0) > 0 then
      redis.call('HINCRBY', part, attempts_field, -1)
    end
    if slow ~= '' then
      redis.call('HSET', part, slow, 1)
    end
    redis.call('ZADD', outstanding, 'XX', deadline, member)
    if ready ~= '' then
      redis.call('ZADD', ready, deadline, member)
      redis.call('EXPIRE', ready, 6 * READY_SECONDS)
    end
  end
end
if queued > 0 then
  redis.call('LPUSH', queue, message)
end
return queued
