/**
 * What cases are made of: routes and consumers put through each server's own door, and files of requests.
 */
import { setTimeout as delay } from "node:timers/promises";
import { ADMIN_KEY, SECRET, type Server } from "./servers.ts";
import { type Algorithm, distinctTokens, signer } from "./tokens.ts";

export async function put(server: Server, path: string, body: unknown): Promise<void> {
  const answer = await fetch(`${server.admin}/apisix/admin${path}`, {
    method: "PUT",
    headers: { "X-API-KEY": ADMIN_KEY },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`PUT ${path}: ${answer.status} ${text}`);
}

/** Polls one request until it has the wanted status: the change has arrived. */
export async function arrived(server: Server, path: string, status: number, authorization?: string): Promise<void> {
  const end = Date.now() + 120_000;
  let last = 0;
  while (Date.now() < end) {
    const answer = await fetch(server.url + path, authorization ? { headers: { authorization } } : {});
    await answer.arrayBuffer();
    last = answer.status;
    if (last === status) return;
    await delay(20);
  }
  throw new Error(`${server.name} answers ${last}, not ${status}, at ${path}`);
}

export const roundrobin = (upstream: string): unknown => ({
  type: "roundrobin",
  nodes: { [upstream.replace("http://", "")]: 1 },
});

export async function plainRoute(
  server: Server,
  upstream: string,
  plugins: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  if (server.admin) await put(server, "/routes/plain", { uri: "/plain/*", plugins, upstream: roundrobin(upstream) });
  await arrived(server, "/plain/x", 200);
}

/** A protected route, its consumer, and `count` tokens of it. */
export async function jwtRoute(
  server: Server,
  upstream: string,
  count: number,
  algorithm: Algorithm = "HS256",
): Promise<string[]> {
  const by = signer(algorithm, "bench", SECRET);
  if (server.admin) {
    await put(server, "/consumers", { username: "bench", plugins: { "jwt-auth": by.consumer } });
    await put(server, "/routes/jwt", { uri: "/jwt/*", plugins: { "jwt-auth": {} }, upstream: roundrobin(upstream) });
  }
  const tokens = distinctTokens(by, count);
  await arrived(server, "/jwt/x", 200, `Bearer ${tokens[0]}`);
  return tokens;
}

/**
 * A route for access tokens of issuers with a fixed key, its consumer, and `count` tokens of one caller.
 * @param others further issuers that the route trusts
 */
export async function accessTokenRoute(server: Server, upstream: string, count: number, others = 0): Promise<string[]> {
  const by = signer("ES256", "bench", SECRET);
  const [iss, aud] = ["https://issuer.bench", "https://api.bench"];
  const keys = { public_key: by.consumer["public_key"], algorithms: ["ES256"] };
  await put(server, "/token_issuers/bench", { issuer: iss, ...keys });
  const ids = ["bench", ...Array.from({ length: others }, (_, n) => `other-${n}`)];
  for (const id of ids.slice(1)) await put(server, `/token_issuers/${id}`, { issuer: `https://${id}.bench`, ...keys });
  const credential = { "access-token": { identity: "bench/caller" } };
  await put(server, "/consumers", { username: "bench", plugins: credential });
  const plugins = { "access-token": { issuers: ids, audiences: [aud] } };
  await put(server, "/routes/tokens", { uri: "/tokens/*", plugins, upstream: roundrobin(upstream) });
  const tokens = distinctTokens(by, count, { iss, aud, sub: "caller" });
  await arrived(server, "/tokens/x", 200, `Bearer ${tokens[0]}`);
  return tokens;
}

export const bearer = (tokens: readonly string[], path = "/jwt/x"): string[] =>
  tokens.map((token) => `${path}\tBearer ${token}`);
