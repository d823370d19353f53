#!/usr/bin/env node
/**
 * An upstream to try things with: answers what it was sent, in the shapes of httpbin.
 * Paths: /headers, /get, /anything[/...], /ip, /status/CODE, /delay/SECONDS (at most 10). Plain Node, no dependencies.
 *
 *   node deploy/echo.mjs [--port 8081] [--host 127.0.0.1]
 */
import { createServer } from "node:http";
import { parseArgs } from "node:util";

const BODY_BYTES_MAX = 1_048_576;
const DELAY_SECONDS_MAX = 10;

const { values } = parseArgs({
  options: { port: { type: "string", default: "8081" }, host: { type: "string", default: "127.0.0.1" } },
});

/** Header names as httpbin shows them: Accept-Encoding. Repeated headers are joined. */
function headersOf(request) {
  const names = request.headers;
  return Object.fromEntries(
    Object.keys(names)
      .sort()
      .map((name) => [name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase()), [names[name]].flat().join(", ")]),
  );
}

function argsOf(url) {
  const args = Object.create(null);
  for (const [name, value] of url.searchParams) args[name] = name in args ? [args[name], value].flat() : value;
  return args;
}

async function bodyOf(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // not JSON: `data` has it as text
  }
}

async function answer(request, url) {
  const [, first, second] = url.pathname.split("/");
  const headers = headersOf(request);
  const origin = headers["X-Forwarded-For"] ?? request.socket.remoteAddress;
  const base = { args: argsOf(url), headers, origin, url: `http://${request.headers.host ?? ""}${request.url}` };
  switch (first) {
    case "headers":
      return { body: { headers } };
    case "get":
      return { body: base };
    case "ip":
      return { body: { origin } };
    case "status":
      return { status: /^[2-5]\d\d$/.test(second ?? "") ? Number(second) : 400, body: {} };
    case "delay":
      await new Promise((resolve) => setTimeout(resolve, Math.min(Number(second) || 0, DELAY_SECONDS_MAX) * 1_000));
      return { body: base };
    case "anything": {
      const data = await bodyOf(request);
      return { body: { ...base, method: request.method, data, json: parsed(data) } };
    }
    default:
      return { status: 404, body: { error: "not found; try /headers, /get or /anything" } };
  }
}

const server = createServer(async (request, response) => {
  request.on("error", () => {});
  // True for every target an HTTP client sends; one that cannot be parsed is a 404 like any other.
  const target = URL.canParse(request.url, "http://echo")
    ? new URL(request.url, "http://echo")
    : new URL("http://echo/?");
  const { status = 200, body } = await answer(request, target).catch(() => ({ status: 400, body: {} }));
  request.resume();
  response.writeHead(status, { "content-type": "application/json", "access-control-allow-origin": "*" });
  response.end(`${JSON.stringify(body, null, 2)}\n`);
});

server.on("error", (error) => {
  console.error(`echo: ${error.message}`);
  process.exitCode = 1;
});
server.listen(Number(values.port), values.host, () => {
  const { address, port } = server.address();
  console.log(`echo upstream on http://${address}:${port}`);
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
  });
}
