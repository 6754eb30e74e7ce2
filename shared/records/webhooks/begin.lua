-- Start a try, if this worker still holds the lease.
--
-- runs in a full Redis
-- uses: webhooks/under_way
-- keys: webhooks_due, webhooks_under_way, job
-- arguments: job_id, lease_until, new_lease_until
-- Both times are in Unix seconds.
-- Returns the number of the try; 0 if another worker holds the lease or the webhook is settled.
local score = redis.call('ZSCORE', webhooks_due, job_id)
if not score or tonumber(score) ~= tonumber(lease_until) then
  return 0
end
if redis.call('EXISTS', job) == 0 then
  -- The job has expired, so there is nothing to deliver.
  redis.call('ZREM', webhooks_due, job_id)
  redis.call('ZREM', webhooks_under_way, job_id)
  return 0
end
redis.call('ZADD', webhooks_due, new_lease_until, job_id)
redis.call('ZADD', webhooks_under_way, 'XX', new_lease_until, job_id)
local of_host, of_client = sets_of(job)
if of_host then
  redis.call('ZADD', of_host, 'XX', new_lease_until, job_id)
end
if of_client then
  redis.call('ZADD', of_client, 'XX', new_lease_until, job_id)
end
return redis.call('HINCRBY', job, 'webhook_tries', 1)
