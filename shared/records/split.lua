-- Replace a part that keeps killing its worker by its images, each to be tried alone.
--
-- KEYS  outstanding, queue
-- ARGV  member of the part, the score that was seen, deadline, then for each image: member, message
-- Gives 1, or 0 where the part has shown life meanwhile.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 4, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[i])
  redis.call('LPUSH', KEYS[2], ARGV[i + 1])
end
return 1
