-- Release some parts of a cancelled job.
--
-- uses: holding
-- keys: outstanding, outstanding_images, held, waiting
-- row keys: part, images
-- row arguments: name
-- A row is a part; `name` is its PartRef.name.
for part, images, name in rows() do
  local members = release(name, part, images, outstanding, outstanding_images, held)
  redis.call('ZREM', waiting, unpack(members))
end
