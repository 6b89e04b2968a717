-- Lengthen leases; an entry that is somebody else's by now stays so, and one that is unknown by now stays that too.
-- ARGV[4] lease in ms, then id and owner of each call
-- Returns the ids that are not held by the owner named
local lost = {}
for i = 5, #ARGV, 2 do
  local id = ARGV[i]
  if get(id, 'owner') == ARGV[i + 1] then
    redis.call('HSET', KEYS[1] .. id, 'lease', now + ARGV[4])
    redis.call('ZADD', KEYS[3], now + ARGV[4], id)
  else
    table.insert(lost, id)
  end
end
return lost
