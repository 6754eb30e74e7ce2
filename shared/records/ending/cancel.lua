-- Cancel a job.
--
-- runs in a full Redis
-- uses: ending/complete, ending/cancelling
-- keys: job
-- arguments: job_id, now, ttl
-- `now` is in Unix seconds; `ttl` is the results' time to live in seconds.
-- Returns 1, or 0 if the job has ended already or is unknown.
return cancel(job, job_id, now, ttl)
