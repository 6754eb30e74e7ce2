-- Let parts that wait for their round go to another model version. Their own has no worker any more.
--
-- runs in a full Redis
-- uses: holding, fairness/rounds
-- keys: queue, new_queue
-- arguments: version, most
-- `version` is the new one, and `new_queue` the queue of its parts. The parts of a client move
-- together, so that the rounds of its jobs keep their distances. No client follows once `most` parts
-- have moved.
-- Returns how many parts still wait for the old version.

-- The message of a part for the new queue. A worker that stops returns it to the queue that it names.
local function readdressed(message)
  local first, last = message:find('"' .. queue .. '"', 1, true)
  return first and message:sub(1, first) .. new_queue .. message:sub(last) or message
end

local function move(client)
  local parts = redis.call('ZRANGEBYSCORE', parts_of(queue, client), '(0', '+inf', 'WITHSCORES')
  local _, present = next_of(new_queue, client)
  local shift = (present or last_round(new_queue)) + 1 - (parts[2] or 0)
  local seen = {}
  for n = 1, #parts, 2 do
    local member, round = parts[n], parts[n + 1] + shift
    local job_id, number = member:match('^(.*):(%d+):%d+$')
    local job, part = JOB_KEY:format(job_id), PART_KEY:format(job_id, number)
    if not seen[job] and redis.call('EXISTS', job) == 1 then
      redis.call('HSET', job, 'model_version', version)
      if not is_slow(client) then
        redis.call('HINCRBY', job, 'next_turn', shift)
        redis.call('HINCRBY', job, 'first_turn', shift)
      end
    end
    seen[job] = true
    local message = redis.call('HGET', part, 'message')
    if message then
      redis.call('HSET', part, 'message', readdressed(message), 'turn', round)
    end
    if stop_waiting(queue, client, member) then
      redis.call('ZADD', WAITING_KEY:format(new_queue), 0, member)
      redis.call('ZADD', parts_of(new_queue, client), round, member)
      join_clients(new_queue, client)
    end
  end
  redis.call('ZREM', CLIENTS_KEY:format(queue), client)
  return #parts / 2
end

local moved = 0
if next_of(queue, '') then
  join_clients(queue, '')
end
for _, client in ipairs(redis.call('ZRANGE', CLIENTS_KEY:format(queue), 0, -1)) do
  if moved < tonumber(most) then
    moved = moved + move(client)
  end
end
return redis.call('ZCARD', WAITING_KEY:format(queue))
