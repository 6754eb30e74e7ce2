-- Find the keys that exist.
--
-- row keys: key
-- Returns their positions, from 0.
local positions = {}
local position = 0
for key in rows() do
  if redis.call('EXISTS', key) == 1 then
    positions[#positions + 1] = position
  end
  position = position + 1
end
return positions
