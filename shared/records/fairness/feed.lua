-- Queue the parts whose round has come.
--
-- runs in a full Redis
-- uses: holding, fairness/rounds
-- arguments: deadline, taken
-- row arguments: queue
-- `deadline` is in Unix seconds; `taken` parts were just started. A row is a queue of a lane.
for queue in rows() do
  feed(queue, deadline, tonumber(taken))
end
