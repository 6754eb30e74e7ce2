-- List the ids of an owner's jobs, the newest first. Jobs that have expired are removed.
--
-- runs in a full Redis
-- keys: jobs
-- arguments: before, limit, examined
-- The list begins after the job `before`, or with the newest job if `before` is empty. It has at
-- most `limit` ids. At most `examined` entries are read, so that one call stays short.
-- Returns the ids, and as the last value 1 if older jobs may follow, or else 0.
local rank = -1
if before ~= '' then
  rank = redis.call('ZREVRANK', jobs, before)
  if not rank then
    return { 0 }
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
if #gone > 0 then
  redis.call('ZREM', jobs, unpack(gone))
end
listed[#listed + 1] = older and 1 or 0
return listed
