-- Reserve bytes for the images of a request, until they are stored.
--
-- keys: reserved, held
-- arguments: process, token, bytes, client, now, seconds
-- `process` stands for a web process, and `token` for a request of it. `now` is in Unix seconds. The
-- reservation ends after so many `seconds`.
-- Returns the bytes that are held, those that requests of other processes have reserved before, and
-- those that this client has reserved among them.
redis.call('ZREMRANGEBYSCORE', reserved, '-inf', now)
local of_all, of_client = 0, 0
for _, member in ipairs(redis.call('ZRANGE', reserved, 0, -1)) do
  local by, size, whose = member:match('^(%S+) %S+ (%d+) (.*)$')
  if by ~= process then
    of_all = of_all + size
    of_client = of_client + (whose == client and size or 0)
  end
end
redis.call('ZADD', reserved, now + seconds, table.concat({ process, token, bytes, client }, ' '))
redis.call('EXPIRE', reserved, seconds)
return { redis.call('HGET', held, 'total') or 0, of_all, of_client }
