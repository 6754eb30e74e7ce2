-- Release some parts of a cancelled job.
--
-- runs in a full Redis
-- uses: holding
-- keys: job, outstanding, outstanding_images, held, waiting, waiting_without_version
-- arguments: released
-- row keys: part, images
-- row arguments: name
-- A row is a part; `name` is its PartRef.name. With these rows, so many parts of the job are
-- released.
local client = redis.call('HGET', job, 'client') or ''
for part, images, name in rows() do
  local members = release(name, part, images, outstanding, outstanding_images, held)
  for _, set in ipairs({ waiting, waiting_without_version }) do
    redis.call('ZREM', set, unpack(members))
    redis.call('ZREM', set .. ':' .. client, unpack(members))
    redis.call('ZREM', set .. ':' .. SLOW_CLIENT:format(client), unpack(members))
  end
end
-- The job may have expired: its record must not be made anew.
if redis.call('EXISTS', job) == 1 then
  redis.call('HSET', job, 'released', released)
end
