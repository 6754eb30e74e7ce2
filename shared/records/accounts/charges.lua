-- What clients are charged for the parts that they have outstanding. For several scripts.

-- What a client is charged for a part: its images without an outcome, and its bytes that are held;
-- then the lane, and the client. An older release charges nobody: 0, 0, nil, nil.
local function charge_of(part)
  local charge = redis.call('HGET', CHARGES, part) or ''
  local images, bytes, lane, client = charge:match('^(%d+) (%d+) (%a+) (.+)$')
  return tonumber(images or 0), tonumber(bytes or 0), lane, client
end

-- Let the account of a client expire, unless it has something outstanding.
local function let_expire(account)
  local interactive, bulk, life = unpack(redis.call('HMGET', account, 'interactive', 'bulk', 'life'))
  if tonumber(interactive or 0) + tonumber(bulk or 0) == 0 then
    redis.call('EXPIRE', account, life or 86400)
  end
end

-- Change an account by so many images and bytes.
local function change(client, lane, images, bytes)
  local account = ACCOUNT_KEY:format(client)
  local left = redis.call('HINCRBY', account, lane, images)
  redis.call('HINCRBY', account, 'bytes', bytes)
  if left == images then
    redis.call('PERSIST', account)
  elseif left == 0 then
    let_expire(account)
  end
end

-- Charge a client so much more for a part, or less. Some of its images must be left.
local function charge(part, more_images, more_bytes, lane, client)
  local images, bytes, charged_lane, charged_client = charge_of(part)
  lane, client = charged_lane or lane, charged_client or client
  if client and client ~= '' then
    redis.call('HSET', CHARGES, part, string.format(
      '%d %d %s %s', images + more_images, bytes + more_bytes, lane, client))
    change(client, lane, more_images, more_bytes)
  end
end

-- End the charge for a part. A second call changes nothing.
local function end_charge(part)
  local images, bytes, lane, client = charge_of(part)
  if client then
    redis.call('HDEL', CHARGES, part)
    change(client, lane, 0 - images, 0 - bytes)
  end
end
