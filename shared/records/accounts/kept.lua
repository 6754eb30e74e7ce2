-- Bytes of records that a client keeps, by the hour in which they expire. For several scripts.
--
-- uses: accounts/charges
--
-- The expiry of a record is no event. So an account has a field `kept:<hour>` for each hour, counted
-- since 1970, and the fields of past hours count no more.

-- Count a job's records for its client, with so many bytes `more`. They expire in `seconds`, or when
-- it was said before.
local function keep(job, more, now, seconds)
  local client, kept, old_hour = unpack(redis.call('HMGET', job, 'client', 'kept', 'kept_hour'))
  if not client then
    return
  end
  local account = ACCOUNT_KEY:format(client)
  local hour = seconds and tostring(math.floor((now + seconds) / 3600)) or old_hour
  if old_hour == hour and tonumber(more) == 0 then
    return
  end
  kept = tonumber(kept or 0)
  if old_hour and redis.call('HINCRBY', account, 'kept:' .. old_hour, -kept) <= 0 then
    redis.call('HDEL', account, 'kept:' .. old_hour)
  end
  kept = kept + more
  redis.call('HSET', job, 'kept', kept, 'kept_hour', hour)
  if redis.call('HINCRBY', account, 'kept:' .. hour, kept) == kept then
    let_expire(account)
  end
end

-- Count images that a client sends on this day, counted since 1970. Its account then lives for
-- `life` seconds, or longer if it has images outstanding.
local function count_today(client, images, now, day, life)
  local account = ACCOUNT_KEY:format(client)
  local of_day, old_life = unpack(redis.call('HMGET', account, 'day', 'life'))
  if of_day == day and old_life == life then
    redis.call('HINCRBY', account, 'today', images)
    return
  end
  local today = of_day == day and redis.call('HGET', account, 'today') or 0
  redis.call('HSET', account, 'day', day, 'today', today + images, 'life', life)
  let_expire(account)
  for _, field in ipairs(redis.call('HKEYS', account)) do
    local hour = field:match('^kept:(%d+)$')
    if hour and tonumber(hour) < math.floor(now / 3600) then
      redis.call('HDEL', account, field)
    end
  end
end
