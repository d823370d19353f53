#!/usr/bin/env node
/**
 * A stand-in for Vault's KV version 1 engine, for machines without Vault: secrets in memory, one token. Not for production.
 * Paths: GET, POST, PUT, DELETE /v1/kv/PATH with the header X-Vault-Token.
 *
 *   node deploy/kv.mjs [--port 8200] [--token root]
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

const BODY_BYTES_MAX = 65_536;
const SECRETS_MAX = 1_000;

const { values } = parseArgs({
  options: { port: { type: "string", default: "8200" }, token: { type: "string", default: "root" } },
});

const digest = (text) => createHash("sha256").update(text).digest();
const token = digest(values.token);
const secrets = new Map();

async function bodyOf(request) {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) {
    text += chunk;
    if (text.length > BODY_BYTES_MAX) throw new RangeError("too large");
  }
  return text;
}

async function answer(request) {
  if (!timingSafeEqual(digest(String(request.headers["x-vault-token"])), token)) {
    return { status: 403, body: { errors: ["permission denied"] } };
  }
  const { pathname } = new URL(request.url, "http://kv");
  if (!pathname.startsWith("/v1/kv/")) return { status: 404, body: { errors: [] } };
  const text = await bodyOf(request);
  switch (request.method) {
    case "GET": {
      const data = secrets.get(pathname);
      return data === undefined ? { status: 404, body: { errors: [] } } : { status: 200, body: { data } };
    }
    case "PUT":
    case "POST":
      if (secrets.size >= SECRETS_MAX) return { status: 507, body: { errors: ["full"] } };
      secrets.set(pathname, JSON.parse(text));
      return { status: 204 };
    case "DELETE":
      secrets.delete(pathname);
      return { status: 204 };
    default:
      return { status: 405, body: { errors: ["unsupported operation"] } };
  }
}

const server = createServer(async (request, response) => {
  const { status, body } = await answer(request).catch(() => ({ status: 400, body: { errors: ["bad request"] } }));
  request.resume();
  response.writeHead(status, { "content-type": "application/json" });
  response.end(body === undefined ? "" : `${JSON.stringify(body)}\n`);
});
server.on("error", (error) => {
  console.error(`kv: ${error.message}`);
  process.exitCode = 1;
});
server.listen(Number(values.port), "127.0.0.1", () => {
  console.log(`KV version 1 stand-in on http://127.0.0.1:${server.address().port}/v1/kv/`);
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
  });
}
