-- Fair scheduling of the bulk lane, for several scripts. It needs holding.lua.
--
-- Parts wait in the sorted set `waiting`, each with the number of its round. Only a few of them are
-- in Celery's queue at a time. The stored names call a round a turn (shared.keys).

-- Messages that the queue holds at least, while parts wait. An idle worker must find one, and a new
-- job's first part waits for all of them. Each start of a part refills the queue.
local READY = 4

-- Let a part wait for its round. Each part of a job has the round after that of the job's previous
-- part. A job that is new, or had no part waiting, joins the round after the present one. So each
-- job has one part in a round, however many parts it has. New jobs do not join the present round:
-- a stream of small jobs would delay the parts of the next round for ever.
local function wait_for_round(job, part, waiting, current_round, outstanding, member, message,
                              deadline)
  -- The rounds of a new model version go on from those of the whole lane.
  local of_lane = current_round:match('^[^@]*')
  local round = tonumber(redis.call('GET', current_round) or redis.call('GET', of_lane) or 0) + 1
  local own = redis.call('HGET', job, 'next_turn')
  if own then
    round = math.max(round, tonumber(own))
    redis.call('HSET', job, 'next_turn', round + 1)
  else
    redis.call('HSET', job, 'next_turn', round + 1, 'first_turn', round)
  end
  redis.call('HSET', part, 'message', message)
  redis.call('ZADD', waiting, round, member)
  redis.call('ZADD', outstanding, deadline + WAITING_SECONDS, member)
end

-- Queue waiting parts in the order of their rounds. `taken` parts were just started. The queue then
-- gets up to twice as many, so that a worker that takes many small parts at once finds more.
local function feed(waiting, current_round, queue, outstanding, outstanding_images, held, deadline,
                    taken)
  local missing = math.max(READY, 2 * taken) - redis.call('LLEN', queue)
  while missing > 0 do
    local member, round = unpack(redis.call('ZPOPMIN', waiting))
    if not member then
      return
    end
    redis.call('SET', current_round, round)
    local name = member:match('^(.*):%d+$')
    local job_id, number = name:match('^(.*):(%d+)$')
    local job, part = JOB_KEY:format(job_id), PART_KEY:format(job_id, number)
    -- A part may outlive its job. Writing to the job would make its record anew, without an expiry.
    local message = redis.call('EXISTS', job) == 1 and redis.call('HGET', part, 'message')
    if message then
      redis.call('HDEL', part, 'message')
      redis.call('ZADD', outstanding, deadline, member)
      redis.call('HSETNX', job, 'first_due', deadline)
      redis.call('LPUSH', queue, message)
      missing = missing - 1
    else
      -- Its records have expired.
      local images = IMAGES_KEY:format(job_id, number)
      release(name, part, images, outstanding, outstanding_images, held)
    end
  end
end
