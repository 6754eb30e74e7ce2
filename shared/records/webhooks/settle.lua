-- End a try, unless the job has ended again or another worker has leased the webhook meanwhile.
--
-- runs in a full Redis
-- uses: webhooks/under_way
-- keys: webhooks_due, webhooks_under_way, job
-- arguments: job_id, lease_until, retry_at, last
-- Both times are in Unix seconds. `retry_at` is empty if there is no further try. `last` is JSON
-- about the try, or empty if there was none.
-- Returns 1, or 0 if nothing was changed.
local score = redis.call('ZSCORE', webhooks_due, job_id)
if not score or tonumber(score) ~= tonumber(lease_until) then
  return 0
end
redis.call('ZREM', webhooks_under_way, job_id)
local of_host, of_client = sets_of(job)
if of_host then
  redis.call('ZREM', of_host, job_id)
end
if of_client then
  redis.call('ZREM', of_client, job_id)
end
if last ~= '' and redis.call('EXISTS', job) == 1 then
  redis.call('HSET', job, 'webhook_last', last)
end
if retry_at == '' then
  return redis.call('ZREM', webhooks_due, job_id)
end
redis.call('ZADD', webhooks_due, retry_at, job_id)
return 1
