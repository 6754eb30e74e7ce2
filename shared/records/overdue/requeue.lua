-- Deliver an overdue part again, unless it has shown life since it was seen.
--
-- runs in a full Redis
-- keys: job, outstanding, queue
-- arguments: member, seen_deadline, deadline, message, successor
-- `successor` is the model version that answers the job from now on; empty if that stays. Both
-- deadlines are in Unix seconds.
-- Returns 1, or 0 if the part has shown life meanwhile.
local score = redis.call('ZSCORE', outstanding, member)
if not score or tonumber(score) ~= tonumber(seen_deadline) then
  return 0
end
if successor ~= '' and redis.call('EXISTS', job) == 1 then
  redis.call('HSET', job, 'model_version', successor)
end
redis.call('ZADD', outstanding, deadline, member)
redis.call('LPUSH', queue, message)
return 1
