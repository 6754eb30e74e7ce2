-- Queue the parts whose round has come.
--
-- runs in a full Redis
-- uses: holding, fairness/rounds
-- keys: waiting, current_round, queue, outstanding, outstanding_images, held
-- arguments: deadline, taken
-- `deadline` is in Unix seconds; `taken` parts were just started.
feed(waiting, current_round, queue, outstanding, outstanding_images, held, deadline,
     tonumber(taken))
