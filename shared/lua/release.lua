-- Release some parts of a cancelled job.
--
-- KEYS  outstanding, outstanding_images, held, then for each part: part, images
-- ARGV  for each part: job and part as `outstanding` names them
for i = 1, #ARGV do
  release(ARGV[i], KEYS[2 * i + 2], KEYS[2 * i + 3], KEYS[1], KEYS[2], KEYS[3])
end
