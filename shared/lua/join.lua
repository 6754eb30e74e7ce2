-- New parts join those that wait their turn.
--
-- KEYS  waiting, turn, queue, outstanding, outstanding_images, held, then for each part: job, part
-- ARGV  deadline (Unix seconds), then for each part: its member of `outstanding`, message
for i = 7, #KEYS, 2 do
  wait_turn(KEYS[i], KEYS[i + 1], KEYS[1], KEYS[2], KEYS[4], ARGV[i - 5], ARGV[i - 4], ARGV[1])
end
feed(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[1], 0)
