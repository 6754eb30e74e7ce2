-- List the ids of an owner's jobs, the newest first. Jobs that have expired are removed.
--
-- runs in a full Redis
-- keys: jobs
-- arguments: after, after_made_at, limit, examined
-- The list begins after the job `after`, or with the newest job if `after` is empty. If that job has
-- left the list, it begins with the newest job that was not made later than `after_made_at`. It has
-- at most `limit` ids. At most `examined` entries are read, so that one call stays short.
-- Returns the ids, the time at which the last one was made, and 1 if older jobs may follow, or else
-- 0. Returns nothing if `after` has left the list, and `after_made_at` is empty.
local rank = -1
if after ~= '' then
  rank = redis.call('ZREVRANK', jobs, after)
  if not rank then
    if after_made_at == '' then
      return nil
    end
    rank = redis.call('ZCOUNT', jobs, '(' .. after_made_at, '+inf') - 1
  end
end
local listed, gone = {}, {}
local left = redis.call('ZREVRANGE', jobs, rank + 1, rank + examined)
local position = 0
for _, job_id in ipairs(left) do
  if #listed == tonumber(limit) then
    break
  end
  position = position + 1
  if redis.call('EXISTS', JOB_KEY:format(job_id)) == 1 then
    listed[#listed + 1] = job_id
  else
    gone[#gone + 1] = job_id
  end
end
local older = redis.call('ZCARD', jobs) > rank + 1 + position
local made_at = listed[1] and redis.call('ZSCORE', jobs, listed[#listed]) or ''
if #gone > 0 then
  redis.call('ZREM', jobs, unpack(gone))
end
listed[#listed + 1] = made_at
listed[#listed + 1] = older and 1 or 0
return listed
