-- What a part holds in Redis, and how it is released. For several scripts.

-- Beside the bytes of a part stands how many of its images are left, once some are committed. The
-- part's record may expire before the others are, and then only this field knows their number.
local function left_field(part)
  return part .. ':left'
end

-- Subtract a part's bytes from those that are held. A second call changes nothing.
local function give_back_bytes(held, part)
  local bytes = redis.call('HGET', held, part)
  if bytes then
    redis.call('HDEL', held, part, left_field(part))
    redis.call('HINCRBY', held, 'total', -bytes)
  end
end

-- Release all that a part of a cancelled job still holds. A second call changes nothing.
-- `outstanding` has the part under one of many names: as a whole with any number of images, or
-- after a split as single images (shared.jobs.PartRef.member). Returns all these names.
local function release(name, part, images, outstanding, outstanding_images, held)
  local pending = tonumber(redis.call('HGET', part, 'pending') or 0)
  if pending > 0 then
    redis.call('DECRBY', outstanding_images, pending)
    redis.call('HSET', part, 'pending', 0)
  end
  redis.call('UNLINK', images)
  redis.call('HDEL', part, 'message')
  give_back_bytes(held, part)
  local members = {}
  for k = 1, PART_SIZE do
    members[2 * k - 1] = name .. ':' .. k
    members[2 * k] = name .. ':1:' .. (k - 1)
  end
  redis.call('ZREM', outstanding, unpack(members))
  return members
end
