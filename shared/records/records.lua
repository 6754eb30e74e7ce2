-- What several scripts do to a job's records. Put in front of them; does nothing by itself.

-- As many bytes as were added for a part, and only once.
local function give_back_bytes(held, part)
  local bytes = redis.call('HGET', held, part)
  if bytes then
    redis.call('HDEL', held, part)
    redis.call('HINCRBY', held, 'total', -bytes)
  end
end

-- End what a part of a cancelled job still holds; harmless when repeated. Its names in
-- `outstanding` are those of the whole part and of its images one by one, where it was split; gives
-- them all.
local function release(name, part, images, outstanding, outstanding_images, held)
  local pending = tonumber(redis.call('HGET', part, 'pending') or 0)
  if pending > 0 then
    redis.call('DECRBY', outstanding_images, pending)
    redis.call('HSET', part, 'pending', 0)
  end
  redis.call('UNLINK', images)
  redis.call('HDEL', part, 'message')
  give_back_bytes(held, part)
  local members = {}
  for k = 1, 32 do -- shared.jobs.PART_SIZE
    members[2 * k - 1] = name .. ':' .. k
    members[2 * k] = name .. ':1:' .. (k - 1)
  end
  redis.call('ZREM', outstanding, unpack(members))
  return members
end

-- Let a job's record live for so many seconds from now, and with it all that belongs to it.
-- `claim` is the key that its request was claimed with, or false.
local function keep(job, job_id, total, claim, seconds)
  redis.call('EXPIRE', job, seconds)
  if claim then
    redis.call('EXPIRE', claim, seconds)
  end
  for n = 0, math.ceil(total / 32) - 1 do -- shared.jobs.PART_SIZE
    redis.call('EXPIRE', 'part:' .. job_id .. ':' .. n, seconds)
  end
  if total > 1 then
    redis.call('EXPIRE', 'finished:' .. job_id, seconds)
    redis.call('EXPIRE', 'parts:' .. job_id, seconds)
  end
end

-- Tell of items that finished, in this order, to who follows the job.
local function tell_finished(finished, indexes, ttl)
  if redis.call('RPUSH', finished, unpack(indexes)) == #indexes then
    redis.call('EXPIRE', finished, 2 * ttl)
  end
end

-- Its end is to be told, where somebody asked for that. In the step that ends it: who dies
-- afterwards has not forgotten it.
local function note_webhook(webhook, job_id, now)
  if webhook then
    redis.call('ZADD', 'webhooks_due', now, job_id)
  end
end

-- Every item is done: results live for their full time from here, however long the job took.
local function complete(job, job_id, total, claim, now, ttl, webhook)
  redis.call('HSET', job, 'state', 'completed', 'finished_at', now, 'expires_at', now + ttl)
  keep(job, job_id, total, claim, ttl)
  note_webhook(webhook, job_id, now)
end
