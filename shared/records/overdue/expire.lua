-- Make all parts overdue that are in a queue or with a worker. They keep their order.
--
-- runs in a full Redis
-- keys: outstanding
-- arguments: latest, seconds
-- `latest` is the latest deadline that such a part can have, in Unix seconds. Parts that wait for
-- their round have later ones. A deadline becomes so many `seconds` earlier.
for _, member in ipairs(redis.call('ZRANGEBYSCORE', outstanding, '-inf', latest)) do
  redis.call('ZINCRBY', outstanding, 0 - seconds, member)
end
