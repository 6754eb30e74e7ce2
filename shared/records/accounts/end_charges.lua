-- End the charges for parts that hold nothing any more. An earlier release has committed them.
--
-- runs in a full Redis
-- uses: accounts/charges
-- keys: held
-- row keys: part
for part in rows() do
  if redis.call('HEXISTS', held, part) == 0 then
    end_charge(part)
  end
end
