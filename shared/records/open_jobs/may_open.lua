-- Whether a client may open another job.
--
-- keys: open_jobs
-- arguments: images, most_jobs, most_images
-- `images` is the size of the job. Jobs that wait for no part any more are forgotten here.
-- Returns 1, or 0 if the client has `most_jobs` that wait for parts, or would have jobs of more
-- than `most_images` together. A single job may be of any size.
local jobs, all = 0, tonumber(images)
local fields = redis.call('HGETALL', open_jobs)
for n = 1, #fields, 2 do
  if redis.call('HGET', JOB_KEY:format(fields[n]), 'state') == 'receiving' then
    jobs = jobs + 1
    all = all + fields[n + 1]
  else
    redis.call('HDEL', open_jobs, fields[n])
  end
end
local may = jobs < tonumber(most_jobs) and (jobs == 0 or all <= tonumber(most_images))
return may and 1 or 0
