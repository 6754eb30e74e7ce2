-- A worker starts on a part: count the attempt, move the deadline, and hand over the record.
--
-- runs in a full Redis
-- uses: holding
-- keys: job, part, images, outstanding, outstanding_images, held
-- keys: ready, ready_for_all, versions
-- arguments: name, member, attempts_field, outcome_field, max_attempts, now, deadline, most_bytes
-- arguments: version
-- `name`, `member` and `attempts_field` are those of the PartRef. `outcome_field` is
-- the field of the outcome of a single image, or empty. `now` and `deadline` are in Unix seconds.
-- `version` is the worker's model version. It becomes that of a job that has none yet, or one that
-- is not in `versions`. The part is no longer `ready` in the queue of this version or in that of all
-- workers.
-- Returns the client of the job, which may be empty, and three lists: the part's fields as HGETALL
-- does, the position and the size in bytes of each image, and the images as HGETALL does. The last
-- list is empty if they have more than `most_bytes` together. The numbers that an embedding of the
-- job has come last, or 0. Returns the job's model version, a string, if that is another one. Returns
-- nil if the worker has nothing to do: it is a second delivery, or recovery must act on a part that
-- was tried often enough.
local client = redis.call('HGET', job, 'client') or ''
for _, set in ipairs({ ready, ready_for_all }) do
  redis.call('ZREM', set, member)
  redis.call('ZREM', set .. ':' .. SLOW_CLIENT:format(client), member)
end
if not redis.call('ZSCORE', outstanding, member) then
  left_queue(member)
  return nil
end
local state, job_version, embeddings = unpack(
  redis.call('HMGET', job, 'state', 'model_version', 'embeddings'))
local pending = redis.call('HGET', part, 'pending')
if not state or not pending or state == 'cancelled' then
  -- If its records have expired, no client can read a result any more.
  release(name, part, images, outstanding, outstanding_images, held)
  left_queue(member)
  return nil
end
if pending == '0' or (outcome_field ~= '' and redis.call('HEXISTS', part, outcome_field) == 1) then
  -- The part was split while a worker was still busy with it, and that worker has committed it.
  redis.call('ZREM', outstanding, member)
  return nil
end
if job_version and version ~= '' and job_version ~= version then
  if redis.call('ZSCORE', versions, job_version) then
    return job_version
  end
  -- No worker of this release has had that version, or none for a day. Nobody would take the part.
  job_version = false
end
if tonumber(redis.call('HGET', part, attempts_field) or 0) >= tonumber(max_attempts) then
  -- It is overdue at once, so that recovery finds it.
  redis.call('ZADD', outstanding, 'XX', now, member)
  return nil
end
redis.call('ZADD', outstanding, 'XX', deadline, member)
redis.call('HINCRBY', part, attempts_field, 1)
if not job_version and version ~= '' then
  redis.call('HSET', job, 'model_version', version)
end
if state == 'queued' then
  redis.call('HSET', job, 'state', 'running', 'started_at', now)
elseif state == 'receiving' then
  redis.call('HSETNX', job, 'started_at', now)
end
local sizes, bytes = {}, 0
for _, position in ipairs(redis.call('HKEYS', images)) do
  local size = redis.call('HSTRLEN', images, position)
  sizes[#sizes + 1] = position
  sizes[#sizes + 1] = size
  bytes = bytes + size
end
local few = bytes <= tonumber(most_bytes) and redis.call('HGETALL', images) or {}
return { client, redis.call('HGETALL', part), sizes, few, embeddings or 0 }
