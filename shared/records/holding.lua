-- What a part holds in Redis, and how it is released. For several scripts.
--
-- uses: accounts/charges

-- Beside the bytes of a part stands how many of its images have no outcome, once these are others
-- than its message says: some are committed, it was split, or one is retried. The part's record may
-- expire before they have an outcome, and then only this field knows their number.
local function left_field(part)
  return part .. ':left'
end

-- Subtract a part's bytes from those that are held. A second call changes nothing.
local function give_back_bytes(held, part)
  local bytes = redis.call('HGET', held, part)
  if bytes then
    redis.call('HDEL', held, part, left_field(part))
    redis.call('HINCRBY', held, 'total', 0 - bytes)
  end
  end_charge(part)
end

-- Delete the images of a part at these positions, which have outcomes now, and give back their bytes.
-- Other images of the part are left. A large part may take minutes, and others need the memory.
local function give_back_images(held, part, images, positions)
  local bytes = 0
  for _, position in ipairs(positions) do
    bytes = bytes + redis.call('HSTRLEN', images, position)
  end
  redis.call('HDEL', images, unpack(positions))
  -- Lua writes `-bytes` as "-0" if they have expired, and that is no integer for Redis.
  redis.call('HINCRBY', held, part, 0 - bytes)
  redis.call('HINCRBY', held, 'total', 0 - bytes)
  charge(part, -#positions, 0 - bytes)
end

-- All names that a part can have in `outstanding`: as a whole with any number of images, or after a
-- split as single images (shared.jobs.PartRef.member).
local function members_of(name)
  local members = {}
  for k = 1, PART_SIZE do
    members[2 * k - 1] = name .. ':' .. k
    members[2 * k] = name .. ':1:' .. (k - 1)
  end
  return members
end

-- Images of a part without an outcome, after the part's record has expired.
local function left_without_record(part, members, outstanding, held)
  if redis.call('HEXISTS', held, part) == 0 then
    -- All of it is committed. After a split, single images may still have names in `outstanding`.
    return 0
  end
  local left = redis.call('HGET', held, left_field(part))
  if left then
    return left
  end
  local images = 0
  for k = 1, PART_SIZE do
    images = images + (redis.call('ZSCORE', outstanding, members[2 * k - 1]) and k or 0)
    -- An earlier release has split it, and counted nothing.
    images = images + (redis.call('ZSCORE', outstanding, members[2 * k]) and 1 or 0)
  end
  return images
end

-- Release all that a part still holds whose job is cancelled or has expired. The part's own record
-- may have expired, too. A second call changes nothing. Returns all names of the part in
-- `outstanding`.
local function release(name, part, images, outstanding, outstanding_images, held)
  local members = members_of(name)
  local pending = redis.call('HGET', part, 'pending')
  if pending then
    redis.call('HSET', part, 'pending', 0)
  else
    pending = left_without_record(part, members, outstanding, held)
  end
  redis.call('DECRBY', outstanding_images, pending)
  redis.call('UNLINK', images)
  redis.call('HDEL', part, 'message')
  give_back_bytes(held, part)
  redis.call('ZREM', outstanding, unpack(members))
  return members
end

-- Tell web processes that a worker has nothing to do for a part: its job was cancelled, or another
-- delivery has done it. Until then its message delays others, and counts for its client.
local function left_queue(member)
  redis.call('PUBLISH', COMMITTED, member:match('^[^:]*') .. ' running')
end
