-- Compare-and-set: replace the record if the stored epoch is the expected one, or (expected -1) is lower.
-- ARGV[2] expected epoch or -1, ARGV[3] new epoch, ARGV[4] record, ARGV[5] channel
-- Returns view()
local stored, expected, new = epoch(), tonumber(ARGV[2]), tonumber(ARGV[3])
if stored == expected or (expected == -1 and stored < new) then
  start(new, ARGV[4])
  tell(ARGV[5])
end
return view()
