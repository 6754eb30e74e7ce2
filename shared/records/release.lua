-- Release some parts of a cancelled job.
--
-- KEYS  outstanding, outstanding_images, held, waiting, then for each part: part, images
-- ARGV  for each part: job and part as `outstanding` names them
for i = 1, #ARGV do
  local members = release(ARGV[i], KEYS[2 * i + 3], KEYS[2 * i + 4], KEYS[1], KEYS[2], KEYS[3])
  redis.call('ZREM', KEYS[4], unpack(members))
end
