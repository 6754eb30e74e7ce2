-- Deliver a part again, if it is still as overdue as it was seen to be.
--
-- KEYS  outstanding, queue
-- ARGV  member, the score that was seen, new deadline, message
-- Gives 1, or 0 where it has shown life meanwhile.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('LPUSH', KEYS[2], ARGV[4])
return 1
