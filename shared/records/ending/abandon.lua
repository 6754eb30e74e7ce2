-- Cancel a job that no client knows, while parts of it are missing. A job that has all its parts
-- stays: another request with the same claim has completed it.
--
-- runs in a full Redis
-- uses: ending/complete, ending/cancelling
-- keys: job, claim
-- arguments: job_id, now, ttl
-- `claim` is empty if the request had none. `now` is in Unix seconds; `ttl` is the results' time
-- to live in seconds.
-- Returns 1, or 0 if the job stays.
if redis.call('HGET', job, 'state') ~= 'receiving' then
  return 0
end
redis.call('HDEL', job, 'webhook', 'claim')
local owner = redis.call('HGET', job, 'owner')
redis.call('ZREM', JOBS_KEY:format(owner), job_id)
local claimed = claim ~= '' and redis.call('GET', claim)
if claimed and claimed:sub(1, #job_id) == job_id then
  redis.call('DEL', claim)
end
return cancel(job, job_id, now, ttl)
