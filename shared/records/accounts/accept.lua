-- Count what was accepted in the accounts of its clients. It follows in the transaction that stores
-- it.
--
-- runs in a full Redis
-- uses: accounts/kept
-- keys: held
-- arguments: lane, now, ttl, day, life
-- row keys: job, part
-- row arguments: client, items, pending, bytes, kept
-- `now` is in Unix seconds; `ttl` and `life` are the times to live of results and of an account, in
-- seconds. A row is a part of a job, or a job without parts: its items, the images that need a
-- worker and their bytes, and the bytes of its records.
for job, part, client, items, pending, bytes, kept in rows() do
  count_today(client, items, now, day, life)
  -- A job that is accepted as a whole is soon done.
  keep(job, kept, now, part == '' and 2 * ttl or ttl)
  -- A full Redis may have refused to queue the part.
  if tonumber(pending) > 0 and redis.call('HEXISTS', held, part) == 1 then
    charge(part, tonumber(pending), tonumber(bytes), lane, client)
  end
end
