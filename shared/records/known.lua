-- Which of these keys exist.
--
-- KEYS  any
-- Gives their positions, from 0.
local known = {}
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    known[#known + 1] = i - 1
  end
end
return known
