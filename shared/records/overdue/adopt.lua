-- Let parts that wait for their round go to another model version. Their own has no worker any more.
--
-- runs in a full Redis
-- keys: waiting, current_round, new_waiting, new_round
-- arguments: version, most
-- The first two keys are those of the old version, and `version` is the new one. At most `most`
-- parts go at a time.
-- Returns how many parts still wait for the old version.
local function round_of(key)
  return tonumber(redis.call('GET', key) or redis.call('GET', key:match('^[^@]*')) or 0)
end
-- The rounds of a version are numbered by themselves. Parts keep their order and their distances.
local shift = round_of(new_round) - round_of(current_round)
local parts = redis.call('ZPOPMIN', waiting, most)
for n = 1, #parts, 2 do
  local member, round = parts[n], parts[n + 1]
  local job = JOB_KEY:format(member:match('^[^:]*'))
  local job_version, next_turn = unpack(redis.call('HMGET', job, 'model_version', 'next_turn'))
  if job_version and job_version ~= version then
    redis.call('HSET', job, 'model_version', version)
    if next_turn then
      redis.call('HINCRBY', job, 'next_turn', shift)
      redis.call('HINCRBY', job, 'first_turn', shift)
    end
  end
  redis.call('ZADD', new_waiting, round + shift, member)
end
return redis.call('ZCARD', waiting)
