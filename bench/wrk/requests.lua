-- Sends the requests listed in a file in turn; each line is PATH, or PATH <tab> AUTHORIZATION.
-- Usage: wrk -s requests.lua URL -- FILE METHOD BODY_BYTES SKIP, which begins after so many lines.
local texts, n, at = {}, 0, 0

function init(args)
  local method, body = args[2], nil
  if tonumber(args[3]) > 0 then body = string.rep("x", tonumber(args[3])) end
  for line in io.lines(args[1]) do
    n = n + 1
    local tab = string.find(line, "\t", 1, true)
    local headers = {}
    if tab then headers["Authorization"] = string.sub(line, tab + 1) end
    texts[n] = wrk.format(method, tab and string.sub(line, 1, tab - 1) or line, headers, body)
  end
  at = tonumber(args[4]) % n
end

function request()
  at = at % n + 1
  return texts[at]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
