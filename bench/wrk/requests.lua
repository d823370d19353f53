-- Sends the requests listed in a file in turn. Each line is PATH, PATH <tab> AUTHORIZATION, or PATH <tab> <tab> chunked:
-- an upload in chunks, on a connection that closes behind it; PATH <tab> AUTHORIZATION <tab> lines: with ten header lines.
-- PATH <tab> AUTHORIZATION <tab> form posts a form, <tab> gzip accepts compressed answers. See request-lines.ts.
-- Usage: wrk -s requests.lua URL -- FILE METHOD BODY_BYTES SKIP, which begins after so many lines.
local texts, n, at = {}, 0, 0

function init(args)
  local method, body = args[2], nil
  if tonumber(args[3]) > 0 then body = string.rep("x", tonumber(args[3])) end
  for line in io.lines(args[1]) do
    n = n + 1
    local path, token, how = string.match(line, "^([^\t]*)\t?([^\t]*)\t?([^\t]*)$")
    local headers = {}
    if token ~= "" then headers["Authorization"] = token end
    if how == "lines" then
      headers["User-Agent"] = "machine-client/4.2 (linux; x64)"
      headers["Accept"] = "application/json"
      headers["Accept-Encoding"] = "gzip, deflate"
      headers["Accept-Language"] = "en-GB,en;q=0.7"
      headers["Cache-Control"] = "no-cache"
      headers["Content-Type"] = "application/json; charset=utf-8"
      headers["X-Request-Source"] = "warehouse-7"
      headers["X-Api-Version"] = "2026-11-01"
    end
    if how == "gzip" then headers["Accept-Encoding"] = "gzip" end
    if how == "chunked" then
      headers["Transfer-Encoding"] = "chunked"
      headers["Connection"] = "close"
      texts[n] = wrk.format("POST", path, headers, nil) .. "5\r\nhello\r\n0\r\n\r\n"
    elseif how == "form" then
      headers["Content-Type"] = "application/x-www-form-urlencoded"
      texts[n] = wrk.format("POST", path, headers, "grant_type=client_credentials")
    else
      texts[n] = wrk.format(method, path, headers, body)
    end
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
