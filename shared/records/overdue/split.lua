-- Replace a part that keeps killing its worker by its images. Each is then tried alone.
--
-- runs in a full Redis
-- uses: holding
-- keys: job, part, outstanding, held, queue
-- arguments: member, seen_deadline, deadline, successor
-- row arguments: single, message
-- `successor` is the model version that answers the job from now on; empty if that stays. Both
-- deadlines are in Unix seconds. A row is an image: its PartRef.member, and its message.
-- Returns 1, or 0 if the part has shown life meanwhile.
local score = redis.call('ZSCORE', outstanding, member)
if not score or tonumber(score) ~= tonumber(seen_deadline) then
  return 0
end
if successor ~= '' and redis.call('EXISTS', job) == 1 then
  redis.call('HSET', job, 'model_version', successor)
end
redis.call('ZREM', outstanding, member)
local pending = redis.call('HGET', part, 'pending')
if pending and redis.call('HEXISTS', held, part) == 1 then
  redis.call('HSET', held, left_field(part), pending)
end
for single, message in rows() do
  redis.call('ZADD', outstanding, deadline, single)
  redis.call('LPUSH', queue, message)
end
return 1
