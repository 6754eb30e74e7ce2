-- Queue the parts whose round has come.
--
-- runs in a full Redis
-- uses: holding, fairness/rounds
-- keys: outstanding, outstanding_images, held
-- arguments: deadline, taken
-- row keys: waiting, current_round, queue
-- `deadline` is in Unix seconds; `taken` parts were just started. A row is a queue with what waits
-- for it.
for waiting, current_round, queue in rows() do
  feed(waiting, current_round, queue, outstanding, outstanding_images, held, deadline,
       tonumber(taken))
end
