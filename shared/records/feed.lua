-- Queue the parts whose turn it is.
--
-- KEYS  waiting, turn, queue, outstanding, outstanding_images, held
-- ARGV  deadline (Unix seconds), parts that were just taken
feed(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], tonumber(ARGV[2]))
