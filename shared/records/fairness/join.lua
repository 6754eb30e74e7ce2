-- New parts wait for their round, and are counted. All of it is one script, so that a full Redis
-- refuses all of it. As commands of a transaction, the counts would stay when the script is refused.
--
-- uses: holding, fairness/rounds
-- keys: outstanding_images, held
-- arguments: queue, deadline
-- row keys: job, part
-- row arguments: member, message, pending, bytes
-- `deadline` is in Unix seconds. A row is a part: its PartRef.member, its message, its images that
-- need a worker, and their bytes.
-- Returns the images that are outstanding in the lane, and the bytes that are held.
local lane_images, bytes_held
for job, part, member, message, pending, bytes in rows() do
  wait_for_round(queue, job, part, member, message, deadline)
  redis.call('HSET', held, part, bytes)
  lane_images = redis.call('INCRBY', outstanding_images, pending)
  bytes_held = redis.call('HINCRBY', held, 'total', bytes)
end
feed(queue, deadline, 0)
return { lane_images, bytes_held }
