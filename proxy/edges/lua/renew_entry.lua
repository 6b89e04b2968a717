-- Lengthen leases; an entry that is somebody else's by now stays so, and one that is unknown by now stays that too.
-- ARGV[4] lease in ms, then id and owner of each
-- Returns now
for i = 5, #ARGV, 2 do
  if get(ARGV[i], 'owner') == ARGV[i + 1] then
    redis.call('HSET', KEYS[1] .. ARGV[i], 'lease', now + ARGV[4])
    redis.call('ZADD', KEYS[3], now + ARGV[4], ARGV[i])
  end
end
return now
