-- Fair scheduling of a queue, for several scripts. It needs holding.lua. A queue is that of a lane,
-- or of a lane and a model version: `<lane>@<version>`.
--
-- The clients of a queue share it in rounds: in each round a client gets one part, or as many as its
-- weight. The jobs of a client share what it gets, in rounds of their own. Parts wait for that, and
-- only a few of them are in Celery's queue at a time. The stored names call a round a turn
-- (shared.keys).
--
-- Parts that are slow to decode wait apart, because each takes a worker's process for seconds. Those of
-- a client are the parts of another client, whose name begins with `slow:`.
--
-- `waiting` has all parts that wait. Those of a client are also in a sorted set of their own, by the
-- round of their job, and have 0 in `waiting`. A part of a job without a client has its round in
-- `waiting` itself. An earlier release stores all parts in this way, and its workers take parts from
-- `waiting` alone.

-- Messages that the queue of the lane `bulk` holds at least, while parts wait. An idle worker must
-- find one, and a new job's first part waits for all of them. Each start of a part refills the queue.
local READY = 2

-- Clients of slow parts have places from here on. So workers of an earlier release, which do not know
-- them, queue such parts last.
local SLOW_PLACE = 1e12

-- Clients whose slow parts are queued in one step.
local SLOW_CLIENTS = 16

-- A slow part that was queued so long ago no longer counts as queued: its message may be lost.
local SLOW_SECONDS = 60

local function lane_of(queue)
  return queue:match('^[^@]*')
end

-- Whether a name stands for the slow parts of a client.
local function is_slow(client)
  return client:find(SLOW_CLIENT:format(''), 1, true) == 1
end

-- The sorted set of a client's parts.
local function parts_of(queue, client)
  local waiting = WAITING_KEY:format(queue)
  return client == '' and waiting or waiting .. ':' .. client
end

-- The member of a client's next part, and its round. Nothing if the client has no part.
local function next_of(queue, client)
  return unpack(redis.call('ZRANGEBYSCORE', parts_of(queue, client), '(0', '+inf', 'WITHSCORES',
                           'LIMIT', 0, 1))
end

-- The next client, and its place. Nothing if there is none.
local function next_client(queue)
  return unpack(redis.call('ZRANGEBYSCORE', CLIENTS_KEY:format(queue), '-inf', '(' .. SLOW_PLACE,
                           'WITHSCORES', 'LIMIT', 0, 1))
end

-- Let a client share the queue, from the round after the present one. If it joined the present one, a
-- stream of new clients would delay the others for ever.
local function join_clients(queue, client)
  local clients = CLIENTS_KEY:format(queue)
  if not redis.call('ZSCORE', clients, client) then
    local _, present = next_client(queue)
    local place = is_slow(client) and SLOW_PLACE or (present or 0) + 1
    redis.call('ZADD', clients, place, client)
  end
end

-- The latest round of a job's part that was queued. The rounds of a new model version go on from
-- those of the whole lane.
local function last_round(queue)
  return redis.call('GET', ROUND_KEY:format(queue)) or
         redis.call('GET', ROUND_KEY:format(lane_of(queue))) or 0
end

local function wait(queue, client, round, part, member, message, deadline)
  redis.call('HSET', part, 'message', message)
  redis.call('ZADD', WAITING_KEY:format(queue), 0, member)
  redis.call('ZADD', parts_of(queue, client), round, member)
  redis.call('ZADD', OUTSTANDING_KEY:format(lane_of(queue)), deadline + WAITING_SECONDS, member)
  join_clients(queue, client)
end

-- Let a part wait for its round. Two parts of a job are two rounds apart. A job that is new, or had
-- no part waiting, begins one round after the next part of its client. It does not come before that
-- part: a stream of small jobs would delay it for ever.
local function wait_for_round(queue, job, part, member, message, deadline)
  local own, client = unpack(redis.call('HMGET', job, 'next_turn', 'client'))
  client = client or ''
  local _, present = next_of(queue, client)
  local round = (present or last_round(queue)) + 1
  if own then
    round = math.max(round, own)
    redis.call('HSET', job, 'next_turn', round + 2)
  else
    redis.call('HSET', job, 'next_turn', round + 2, 'first_turn', round)
  end
  redis.call('HSET', part, 'turn', round)
  wait(queue, client, round, part, member, message, deadline)
end

-- Let a part wait again that was started and not finished. It goes on in the next round of its client.
-- A single image comes one round later, or one would overtake others again and again: parts of a round
-- are in the order of their names. A slow part keeps its round, so that the jobs of a client share the
-- slow rounds, too.
local function wait_again(queue, job, part, member, message, deadline, slow)
  local client = redis.call('HGET', job, 'client') or ''
  client = slow and SLOW_CLIENT:format(client) or client
  local _, present = next_of(queue, client)
  local round = (present or last_round(queue) + 1) + (member:match(':1$') and 1 or 0)
  local own = slow and redis.call('HGET', part, 'turn')
  wait(queue, client, own or round, part, member, message, deadline)
end

-- Let a part wait no longer. Returns whether it did.
local function stop_waiting(queue, client, member)
  local was_next = redis.call('ZREM', parts_of(queue, client), member)
  return (client == '' and was_next or redis.call('ZREM', WAITING_KEY:format(queue), member)) == 1
end

-- The parts that are in the queue or prefetched, after they waited for their round. They may be
-- cancelled. A start takes each of them from `ready`.
local function ready_parts(ready, since)
  redis.call('ZREMRANGEBYSCORE', ready, '-inf', since)
  return redis.call('ZRANGE', ready, 0, -1)
end

local function ready_images(queue, deadline)
  local images = 0
  for _, member in ipairs(ready_parts(READY_KEY:format(queue), deadline - READY_SECONDS)) do
    images = images + member:match('^[^:]*:%d+:(%d+)')
  end
  return images
end

-- How many more images the queue may get, or how many more messages. Workers of the lane
-- `interactive` prefetch many messages, and a single picture waits for all of them. So the limit
-- there is in images, a full part for each worker, and counts what is prefetched. Workers of an
-- earlier release do not say which model they have, and take nothing from `waiting` in this lane. So
-- there is no limit while only they run. The queue of `bulk` gets up to twice as many messages as
-- were just started, so that a worker that takes many small parts at once finds more.
local function room_in_queue(queue, deadline, taken)
  if lane_of(queue) == 'interactive' then
    local workers = redis.call('ZCARD', WORKERS_KEY:format(lane_of(queue)))
    if workers > 0 and redis.call('EXISTS', SERVING_KEY:format(lane_of(queue))) == 0 then
      return math.huge
    end
    return PART_SIZE * math.max(1, workers) - ready_images(queue, deadline)
  end
  return math.max(READY, 2 * taken) - redis.call('LLEN', queue)
end

-- The room that a part takes in the queue.
local function room_of(queue, member)
  return lane_of(queue) == 'interactive' and tonumber(member:match('(%d+)$')) or 1
end

-- Queue a part that has waited, and count it as `ready`, if that is not empty. Returns its share of a
-- round, or nothing if its records have expired.
local function queue_part(queue, member, deadline, ready)
  local name = member:match('^(.*):%d+$')
  local job_id, number = name:match('^(.*):(%d+)$')
  local job, part = JOB_KEY:format(job_id), PART_KEY:format(job_id, number)
  local outstanding = OUTSTANDING_KEY:format(lane_of(queue))
  -- A part may outlive its job. Writing to the job would make its record anew, without an expiry.
  local state, weight = unpack(redis.call('HMGET', job, 'state', 'weight'))
  local message = state and redis.call('HGET', part, 'message')
  if not message then
    release(name, part, IMAGES_KEY:format(job_id, number), outstanding,
            OUTSTANDING_IMAGES_KEY:format(lane_of(queue)), HELD)
    return nil
  end
  redis.call('HDEL', part, 'message')
  redis.call('ZADD', outstanding, deadline, member)
  redis.call('HSETNX', job, 'first_due', deadline)
  redis.call('LPUSH', queue, message)
  if ready ~= '' then
    redis.call('ZADD', ready, deadline, member)
    redis.call('EXPIRE', ready, 6 * READY_SECONDS)
  end
  return 1 / (weight or 1)
end

-- Queue waiting parts in the order of their rounds. `taken` parts were just started. If the next part
-- does not fit, it waits until more is started, and so do those behind it. Two parts of 30 images
-- would otherwise stand before a single picture where one is meant to. An empty queue has room for
-- any part.
local function feed_rounds(queue, deadline, taken)
  local clients = CLIENTS_KEY:format(queue)
  local ready = lane_of(queue) == 'interactive' and READY_KEY:format(queue) or ''
  local room = room_in_queue(queue, deadline, taken)
  while true do
    local client, place = next_client(queue)
    if not client then
      return
    end
    local member, round = next_of(queue, client)
    if not member then
      redis.call('ZREM', clients, client)
    elseif room_of(queue, member) > room then
      return
    elseif stop_waiting(queue, client, member) then
      redis.call('SET', ROUND_KEY:format(queue), math.max(round, last_round(queue)))
      local share = queue_part(queue, member, deadline, ready)
      redis.call('ZADD', clients, place + (share or 0), client)
      room = room - (share and room_of(queue, member) or 0)
    end
  end
end

-- Queue slow parts: of each client one for each worker. So workers always have the next one, and only
-- a few of them. Clients take turns in the worker.
local function feed_slow(queue, deadline)
  local clients = CLIENTS_KEY:format(queue)
  local workers = redis.call('ZCARD', WORKERS_KEY:format(lane_of(queue)))
  for _, client in ipairs(redis.call('ZRANGEBYSCORE', clients, SLOW_PLACE, '+inf',
                                     'LIMIT', 0, SLOW_CLIENTS)) do
    local ready = READY_KEY:format(queue) .. ':' .. client
    local queued = #ready_parts(ready, deadline - SLOW_SECONDS)
    if not next_of(queue, client) then
      redis.call('ZREM', clients, client)
    end
    for _ = queued + 1, math.max(1, workers) do
      local member = next_of(queue, client)
      if not member then
        redis.call('ZREM', clients, client)
        break
      end
      if stop_waiting(queue, client, member) then
        queue_part(queue, member, deadline, ready)
      end
      redis.call('ZINCRBY', clients, 1, client)
    end
  end
end

local function feed(queue, deadline, taken)
  if next_of(queue, '') then
    join_clients(queue, '')
  end
  if redis.call('EXISTS', CLIENTS_KEY:format(queue)) == 1 then
    feed_rounds(queue, deadline, taken)
    feed_slow(queue, deadline)
  end
end
