-- Parts of the bulk lane wait in `waiting` until it is their turn, and few of them are in Celery's
-- queue at a time. Put in front of other scripts; does nothing by itself.

-- Added to the deadline of a part that waits its turn: nobody is expected to show life of it.
local WAITING = 1000000000

-- Messages that there are in the queue at least, while parts wait: a worker that is free must find
-- one, and each is a part that a new job waits for. Every start tops them up.
local READY = 4

-- Let a part wait for its turn. A job's next part has the turn after its last one; a job that is
-- new, or had nothing waiting, joins at the turn after the present one. So jobs take turns, however
-- many parts each has: between two parts of one there is one of each other. Were it the present
-- turn, a stream of small new jobs would hold up those that wait for the next one for ever.
local function wait_turn(job, part, waiting, turn, outstanding, member, message, deadline)
  local next = tonumber(redis.call('GET', turn) or 0) + 1
  local own = redis.call('HGET', job, 'next_turn')
  if own then
    next = math.max(next, tonumber(own))
    redis.call('HSET', job, 'next_turn', next + 1)
  else
    redis.call('HSET', job, 'next_turn', next + 1, 'first_turn', next)
  end
  redis.call('HSET', part, 'message', message)
  redis.call('ZADD', waiting, next, member)
  redis.call('ZADD', outstanding, deadline + WAITING, member)
end

-- Queue parts in the order of their turns: as many as were just taken twice over, so that who takes
-- many small ones at once finds more.
local function feed(waiting, turn, queue, outstanding, outstanding_images, held, deadline, taken)
  local missing = math.max(READY, 2 * taken) - redis.call('LLEN', queue)
  while missing > 0 do
    local next = redis.call('ZPOPMIN', waiting)
    local member = next[1]
    if not member then
      return
    end
    redis.call('SET', turn, next[2])
    local name, images = member:match('^(.*):(%d+)$')
    local part = 'part:' .. name
    local message = redis.call('HGET', part, 'message')
    if message then
      redis.call('HDEL', part, 'message')
      redis.call('ZADD', outstanding, deadline, member)
      redis.call('HSETNX', 'job:' .. name:match('^(.*):'), 'first_due', deadline)
      redis.call('LPUSH', queue, message)
      missing = missing - 1
    else -- its records have expired
      redis.call('ZREM', outstanding, member)
      redis.call('DECRBY', outstanding_images, images)
      give_back_bytes(held, part)
    end
  end
end
