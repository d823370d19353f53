-- Sends the requests listed in a file in turn; each line is PATH, or PATH <tab> AUTHORIZATION.
-- Usage: wrk -s requests.lua URL -- FILE [METHOD] [BODY_BYTES]
local paths, tokens, n, at = {}, {}, 0, 0
local method, body = "GET", nil

function init(args)
  for line in io.lines(args[1]) do
    n = n + 1
    local tab = string.find(line, "\t", 1, true)
    if tab then
      paths[n] = string.sub(line, 1, tab - 1)
      tokens[n] = string.sub(line, tab + 1)
    else
      paths[n] = line
    end
  end
  if args[2] then method = args[2] end
  if args[3] and tonumber(args[3]) > 0 then body = string.rep("x", tonumber(args[3])) end
end

function request()
  at = at % n + 1
  local token = tokens[at]
  if token then
    return wrk.format(method, paths[at], { ["Authorization"] = token }, body)
  end
  return wrk.format(method, paths[at], nil, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
