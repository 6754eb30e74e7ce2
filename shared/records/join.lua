-- New parts join those that wait their turn, and are counted: in one script, so that a Redis that is
-- full refuses all of it. In a transaction it would refuse the script and keep the counts.
--
-- KEYS  waiting, turn, queue, outstanding, outstanding_images, held, then for each part: job, part
-- ARGV  deadline (Unix seconds), then for each part: its member of `outstanding`, message, images,
--       bytes
-- Gives the images that are outstanding in the lane, and the bytes held.
local images, bytes
for i = 7, #KEYS, 2 do
  local member, message, pending, size = unpack(ARGV, 2 * i - 12, 2 * i - 9)
  wait_turn(KEYS[i], KEYS[i + 1], KEYS[1], KEYS[2], KEYS[4], member, message, ARGV[1])
  redis.call('HSET', KEYS[6], KEYS[i + 1], size)
  images = redis.call('INCRBY', KEYS[5], pending)
  bytes = redis.call('HINCRBY', KEYS[6], 'total', size)
end
feed(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], 0)
return { images, bytes }
