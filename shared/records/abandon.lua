-- Put in front of cancel.lua: end a job that nobody has been told of, while parts of it are missing.
-- A job that is whole was accepted by another request with the same claim, and stays.
--
-- KEYS  job, and the claim that it was made with, if any
-- ARGV  as of cancel.lua
if redis.call('HGET', KEYS[1], 'state') ~= 'receiving' then
  return 0
end
redis.call('HDEL', KEYS[1], 'webhook', 'claim')
local claimed = KEYS[2] and redis.call('GET', KEYS[2])
if claimed and claimed:sub(1, #ARGV[4]) == ARGV[4] then
  redis.call('DEL', KEYS[2])
end
