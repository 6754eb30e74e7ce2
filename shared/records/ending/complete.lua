-- How items and jobs end. For several scripts.
--
-- uses: accounts/kept

-- Let the parts expire that have arrived, of a job that was opened for parts. Their numbers are the bits
-- that are set. A job may have 15,000 parts, and most of those of a cancelled one never came.
local function expire_arrived(job_id, seconds)
  local bitmap = redis.call('GET', PARTS_KEY:format(job_id)) or ''
  for k = 1, #bitmap do
    local bits = bitmap:byte(k)
    for n = 7, 0, -1 do
      if bits % 2 == 1 then
        redis.call('EXPIRE', PART_KEY:format(job_id, 8 * (k - 1) + n), seconds)
      end
      bits = math.floor(bits / 2)
    end
  end
end

-- Let a job's record and all that belongs to it expire in so many seconds.
-- `claim` is the key of its idempotency claim, or false.
local function expire(job, job_id, total, claim, now, seconds)
  -- Its thumbnails live for twice as long as its results.
  local thumbnails = redis.call('HEXISTS', job, 'thumbnails') == 1
  keep(job, 0, now, thumbnails and 2 * seconds or seconds)
  redis.call('EXPIRE', job, seconds)
  if claim then
    redis.call('EXPIRE', claim, seconds)
  end
  if redis.call('HEXISTS', job, 'received') == 1 then
    expire_arrived(job_id, seconds)
  else
    for n = 0, math.ceil(total / PART_SIZE) - 1 do
      redis.call('EXPIRE', PART_KEY:format(job_id, n), seconds)
    end
  end
  redis.call('EXPIRE', PARTS_KEY:format(job_id), seconds)
  if total > 1 then
    redis.call('EXPIRE', FINISHED_KEY:format(job_id), seconds)
  end
end

-- Add items to the list of those that finished. The clients that follow the job read it.
local function add_finished(finished, indexes, ttl)
  if redis.call('RPUSH', finished, unpack(indexes)) == #indexes then
    redis.call('EXPIRE', finished, 2 * ttl)
  end
end

-- Make the webhook of an ended job due, if it has one. The script that ends the job calls this, so
-- no process can die between the end and the webhook.
local function add_webhook(webhook, job_id, now)
  if webhook then
    redis.call('ZADD', WEBHOOKS_DUE, now, job_id)
  end
end

-- Complete a job whose items are all done. Results live for their full time from now on, however
-- long the job took.
local function complete(job, job_id, total, claim, now, ttl, webhook)
  redis.call('HSET', job, 'state', 'completed', 'finished_at', now, 'expires_at', now + ttl)
  expire(job, job_id, total, claim, now, ttl)
  add_webhook(webhook, job_id, now)
end
