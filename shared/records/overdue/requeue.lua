-- Deliver an overdue part again, unless it has shown life since it was seen.
--
-- runs in a full Redis
-- keys: outstanding, queue
-- arguments: member, seen_deadline, deadline, message
-- Both deadlines are in Unix seconds.
-- Returns 1, or 0 if the part has shown life meanwhile.
local score = redis.call('ZSCORE', outstanding, member)
if not score or tonumber(score) ~= tonumber(seen_deadline) then
  return 0
end
redis.call('ZADD', outstanding, deadline, member)
redis.call('LPUSH', queue, message)
return 1
