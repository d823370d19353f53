/**
 * What is measured: each case lists its servers and prepares them through their own doors (ours: the Admin API).
 */
import { setTimeout as delay } from "node:timers/promises";
import {
  ADMIN_KEY,
  EXPRESS_GATEWAY,
  FAST,
  FASTIFY_JWT,
  GENERAL,
  HAPROXY,
  HAPROXY_JWT,
  jotgate,
  NGINX,
  NGINX_EQUAL,
  SECRET,
  type Server,
  type ServerKind,
} from "./servers.ts";
import { type Algorithm, distinctTokens, requestsFile, signer } from "./tokens.ts";

export interface Case {
  readonly name: string;
  readonly servers: readonly { readonly kind: ServerKind; readonly name?: string; readonly variant?: string }[];
  readonly method?: string;
  readonly bodyBytes?: number;
  readonly connections?: number;
  /** Takes long; only with --full or when named. */
  readonly full?: boolean;
  /** Configures the server; @returns the file of requests to send */
  prepare(server: Server, upstream: string, folder: string, variant: string): Promise<string>;
  /** Runs beside the load; @returns how to stop it */
  during?(server: Server, upstream: string): () => Promise<void>;
}

const OURS = [{ kind: FAST }, { kind: GENERAL }];
const ALL_PLAIN = [
  { kind: NGINX },
  { kind: NGINX_EQUAL },
  { kind: HAPROXY },
  { kind: FASTIFY_JWT },
  { kind: EXPRESS_GATEWAY },
  ...OURS,
];
const ALL_JWT = [{ kind: NGINX }, { kind: HAPROXY_JWT }, { kind: FASTIFY_JWT }, { kind: EXPRESS_GATEWAY }, ...OURS];

async function put(server: Server, path: string, body: unknown): Promise<void> {
  const answer = await fetch(`${server.admin}/apisix/admin${path}`, {
    method: "PUT",
    headers: { "X-API-KEY": ADMIN_KEY },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`PUT ${path}: ${answer.status} ${await answer.text()}`);
}

/** Polls one request until it has the wanted status: the change has arrived. */
async function arrived(server: Server, path: string, status: number, authorization?: string): Promise<void> {
  const end = Date.now() + 120_000;
  let last = 0;
  while (Date.now() < end) {
    last = (await fetch(server.url + path, authorization ? { headers: { authorization } } : {})).status;
    if (last === status) return;
    await delay(20);
  }
  throw new Error(`${server.name} answers ${last}, not ${status}, at ${path}`);
}

const roundrobin = (upstream: string): unknown => ({
  type: "roundrobin",
  nodes: { [upstream.replace("http://", "")]: 1 },
});

async function plainRoute(server: Server, upstream: string, plugins: Record<string, unknown> = {}): Promise<void> {
  if (server.admin) await put(server, "/routes/plain", { uri: "/plain/*", plugins, upstream: roundrobin(upstream) });
  await arrived(server, "/plain/x", 200);
}

/** A protected route, its consumer, and `count` tokens of it. */
async function jwtRoute(
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

const bearer = (tokens: readonly string[], path = "/jwt/x"): string[] =>
  tokens.map((token) => `${path}\tBearer ${token}`);

function jwtCase(name: string, count: number, algorithm: Algorithm, servers: Case["servers"], full = false): Case {
  return {
    name,
    servers,
    full,
    prepare: async (server, upstream, folder) =>
      requestsFile(folder, "jwt", bearer(await jwtRoute(server, upstream, count, algorithm))),
  };
}

const pathCase = (name: string, path: string, extra: Partial<Case> = {}): Case => ({
  name,
  servers: [{ kind: NGINX }, ...OURS],
  prepare: async (server, upstream, folder) => {
    await plainRoute(server, upstream);
    return requestsFile(folder, "paths", [path]);
  },
  ...extra,
});

const FIVE_PLUGINS = {
  "request-id": {},
  "ip-restriction": { blacklist: ["10.9.0.0/16"] },
  cors: {},
  "limit-count": { count: 1_000_000_000, time_window: 60, show_limit_quota_header: false },
  "proxy-rewrite": { headers: { set: { "X-Bench": "1" } } },
};

/** Fewer tokens than this may stay in the token cache; a ring twice as long never hits. */
const MISS_RING = 60_000;
const NO_CACHE = jotgate("jotgate, fast lane", ["--workers", "1", "--jwt-cache-entries", "20000"]);

async function manyRoutes(server: Server, upstream: string, folder: string, count: number): Promise<string> {
  const lines: string[] = [];
  for (let i = 0; i < count; i += 50) {
    const batch = Array.from({ length: Math.min(50, count - i) }, (_, j) => i + j);
    await Promise.all(
      batch.map((n) => put(server, `/routes/r${n}`, { uri: `/many/${n}/*`, upstream: roundrobin(upstream) })),
    );
  }
  for (let i = 0; i < 5_000; i++) lines.push(`/many/${Math.floor(Math.random() * count)}/x`);
  await arrived(server, `/many/${count - 1}/x`, 200);
  return requestsFile(folder, "many", lines);
}

async function manyConsumers(server: Server, upstream: string, folder: string, count: number): Promise<string> {
  const tokens = await jwtRoute(server, upstream, 1);
  for (let i = 0; i < count; i += 50) {
    const batch = Array.from({ length: Math.min(50, count - i) }, (_, j) => i + j);
    await Promise.all(
      batch.map((n) =>
        put(server, "/consumers", { username: `c${n}`, plugins: { "jwt-auth": { key: `k${n}`, secret: SECRET } } }),
      ),
    );
  }
  const exp = Math.floor(Date.now() / 1000) + 86_400;
  const lines = Array.from({ length: Math.min(5_000, count) }, (_, i) =>
    signer("HS256", `k${i}`, SECRET).token({ exp }),
  );
  await arrived(server, "/jwt/x", 200, `Bearer ${lines.at(-1) ?? tokens[0]}`);
  return requestsFile(folder, "consumers", bearer(lines));
}

export const CASES: readonly Case[] = [
  {
    name: "plain",
    servers: ALL_PLAIN,
    prepare: async (server, upstream, folder) => {
      await plainRoute(server, upstream);
      return requestsFile(folder, "plain", ["/plain/x"]);
    },
  },
  jwtCase("jwt HS256, 1 token", 1, "HS256", ALL_JWT),
  jwtCase("jwt HS256, 10,000 tokens", 10_000, "HS256", [
    { kind: NGINX },
    { kind: HAPROXY_JWT },
    { kind: FASTIFY_JWT },
    ...OURS,
  ]),
  jwtCase("jwt HS256, every token new", MISS_RING, "HS256", [
    { kind: NGINX },
    { kind: HAPROXY_JWT },
    { kind: NO_CACHE },
  ]),
  jwtCase("jwt ES256, every token new", MISS_RING, "ES256", [{ kind: NO_CACHE }]),
  jwtCase("jwt EdDSA, every token new", MISS_RING, "EdDSA", [{ kind: NO_CACHE }]),
  jwtCase("jwt RS256, every token new", MISS_RING, "RS256", [{ kind: NO_CACHE }], true),
  {
    name: "sign HS256",
    servers: [{ kind: NGINX }, { kind: FASTIFY_JWT }, ...OURS],
    prepare: async (server, _upstream, folder) => {
      if (server.admin) {
        await put(server, "/consumers", {
          username: "bench",
          plugins: { "jwt-auth": { key: "bench", secret: SECRET } },
        });
        await put(server, "/routes/sign", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } });
        await arrived(server, "/apisix/plugin/jwt/sign?key=bench", 200);
        return requestsFile(folder, "sign", ["/apisix/plugin/jwt/sign?key=bench"]);
      }
      return requestsFile(folder, "sign", ["/sign"]);
    },
  },
  {
    name: "404",
    servers: OURS,
    prepare: async (server, upstream, folder) => {
      await plainRoute(server, upstream);
      return requestsFile(folder, "none", ["/nothing/here"]);
    },
  },
  {
    name: "401, bad signature",
    servers: [{ kind: HAPROXY_JWT }, ...OURS],
    prepare: async (server, upstream, folder) => {
      const [good = ""] = await jwtRoute(server, upstream, 1);
      const bad = `${good.slice(0, good.lastIndexOf(".") + 1)}${"A".repeat(43)}`;
      return requestsFile(folder, "bad", bearer([bad]));
    },
  },
  {
    name: "five plugins",
    servers: OURS,
    prepare: async (server, upstream, folder) => {
      await plainRoute(server, upstream, FIVE_PLUGINS);
      return requestsFile(folder, "five", ["/plain/x"]);
    },
  },
  pathCase("response 1 KiB", "/plain/1k"),
  pathCase("response 64 KiB", "/plain/64k"),
  pathCase("POST 1 KiB", "/plain/x", { method: "POST", bodyBytes: 1_024 }),
  {
    name: "10 changes a second",
    servers: [{ kind: FAST }],
    prepare: async (server, upstream, folder) =>
      requestsFile(folder, "jwt", bearer(await jwtRoute(server, upstream, 1))),
    during: (server, upstream) => {
      let stopped = false;
      const changes = (async () => {
        for (let n = 0; !stopped; n++) {
          await put(server, `/routes/changing${n % 10}`, { uri: `/changing/${n}`, upstream: roundrobin(upstream) });
          await delay(100);
        }
      })();
      return async () => {
        stopped = true;
        await changes;
      };
    },
  },
  ...[10, 1_000, 100_000].map(
    (count): Case => ({
      name: `${count} routes`,
      servers: [{ kind: FAST }],
      full: count > 1_000,
      prepare: (server, upstream, folder) => manyRoutes(server, upstream, folder, count),
    }),
  ),
  ...[1_000, 100_000].map(
    (count): Case => ({
      name: `${count} consumers`,
      servers: [{ kind: FAST }],
      full: count > 1_000,
      prepare: (server, upstream, folder) => manyConsumers(server, upstream, folder, count),
    }),
  ),
];
