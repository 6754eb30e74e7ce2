-- Reserve bytes for the images of a request, until they are stored.
--
-- keys: reserved, held
-- arguments: process, client, member, now, seconds
-- `process` stands for a web process. `member` is "<process> <request> <bytes> <rest> <client>"; the
-- rest is not stored yet. `now` is in Unix seconds. The reservation ends after so many `seconds`.
-- Returns the bytes that are held, those that requests of other processes have reserved before, how
-- many of these are not stored yet, and those that this client has reserved among them.
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
local of_all, unstored, of_client = 0, 0, 0
for _, other in ipairs(redis.call('ZRANGE', reserved, 0, -1)) do
  local by, size, rest, whose = other:match('^(%S+) %S+ (%d+) (%d+) (.*)$')
  if by and by ~= process then
    of_all = of_all + size
    unstored = unstored + rest
    of_client = of_client + (whose == client and size or 0)
  end
end
redis.call('ZADD', reserved, now + seconds, member)
redis.call('EXPIRE', reserved, seconds)
return { redis.call('HGET', held, 'total') or 0, of_all, unstored, of_client }
