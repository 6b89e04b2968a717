-- What a replica still knows to be unknown: made anew where the store has lost it.
-- ARGV[4] JSON: list of {id, attempts, method, route, request_id, reference, keyed, body, rule}
-- Returns {tracked, ids that were missing, ids that are unknown no more}
begin()
local missing, resolved = {}, {}
for _, one in ipairs(cjson.decode(ARGV[4])) do
  local id = one[1]
  local state = get(id, 'state')
  if state == '' then
    redis.call('HSET', KEYS[1] .. id, 'since', now, 'calls', 1, 'attempts', one[2], 'owner', '', 'lease', 0, 'lapsed', 0)
    describe(id, {unpack(one, 3)})
    put(id, 'unknown')
    redis.call('ZADD', KEYS[4], now, id)
    table.insert(missing, id)
  elseif state == 'final' or state == 'not_sent' then
    table.insert(resolved, id)
  end
end
return {tracked(), missing, resolved}
