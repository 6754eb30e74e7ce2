-- Queue parts again that a worker has taken and not finished. Their start, if any, does not count.
--
-- runs in a full Redis
-- uses: holding, fairness/rounds
-- keys: outstanding
-- arguments: queue, deadline, kind
-- row keys: job, part
-- row arguments: member, attempts_field, slow, message
-- `deadline` is in Unix seconds. A row is a part. `attempts_field` is empty if it was not started. An
-- outage may have prevented the start, so the attempts are not counted below 0. `slow` is the field
-- that marks an image as slow to decode, or empty. A part with several such images has a row for
-- each, and only the first one has its message.
--
-- The parts wait for the next round of their client. Queued at once, they would take the room of
-- others in the queue. `kind` is empty, or `slow`: the parts wait apart from others. Or it is
-- `suspect`: each part is a single image, and is queued at once.
for job, part, member, attempts_field, slow, message in rows() do
  if redis.call('ZSCORE', outstanding, member) and redis.call('EXISTS', part) == 1 then
    if attempts_field ~= '' and tonumber(redis.call('HGET', part, attempts_field) or 0) > 0 then
      redis.call('HINCRBY', part, attempts_field, -1)
    end
    if slow ~= '' then
      redis.call('HSET', part, slow, 1)
    end
    if message == '' then
      -- A further slow image of the part before.
    elseif kind == 'suspect' or redis.call('EXISTS', job) == 0 then
      redis.call('ZADD', outstanding, 'XX', deadline, member)
      redis.call('LPUSH', queue, message)
    else
      wait_again(queue, job, part, member, message, deadline, kind == 'slow')
    end
  else
    left_queue(member)
  end
end
feed(queue, deadline, 0)
