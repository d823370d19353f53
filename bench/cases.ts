/**
 * What is measured on one server each: the hot path in its variants, against peers.
 */
import { cpus } from "node:os";
import { accessTokenRoute, arrived, bearer, jwtRoute, plainRoute, put } from "./case-parts.ts";
import { scrapes } from "./cases-of-scrapes.ts";
import { changes, tables } from "./cases-on-etcd.ts";
import { revoked } from "./cases-revoked.ts";
import { HTTP2 } from "./http2.ts";
import { requestsFile } from "./request-lines.ts";
import { type Run, type Series, series } from "./series.ts";
import {
  EXPRESS_GATEWAY,
  FAST,
  FAST_NEWEST,
  FASTIFY_JWT,
  GENERAL,
  HAPROXY,
  HAPROXY_404,
  HAPROXY_JWT,
  ITEMS,
  jotgate,
  LOAD_CORE,
  NGINX,
  NGINX_EQUAL,
  NGINX_GZIP,
  NO_GATEWAY,
  SECRET,
  SERVER_CORE,
  type ServerKind,
} from "./servers.ts";
import type { Algorithm } from "./tokens.ts";

type Extra = Partial<Omit<Run, "case" | "kind" | "prepare">>;
const OK = { status: 200 } as const;
const QUICK = { quick: true } as const;
const OURS = [FAST, GENERAL];

const runsOf = (name: string, kinds: readonly ServerKind[], prepare: Run["prepare"], extra: Extra = {}): Run[] =>
  kinds.map((kind) => ({ case: name, kind, expect: OK, prepare, ...extra }));

export const pathRuns = (name: string, kinds: readonly ServerKind[], path: string, extra: Extra = {}): Run[] =>
  runsOf(
    name,
    kinds,
    async (server, upstream, folder) => {
      await plainRoute(server, upstream);
      return requestsFile(folder, "paths", [path]);
    },
    extra,
  );

export const jwtRuns = (
  name: string,
  kinds: readonly ServerKind[],
  count: number,
  algorithm: Algorithm,
  extra: Extra,
): Run[] =>
  runsOf(
    name,
    kinds,
    async (server, upstream, folder) =>
      requestsFile(folder, "jwt", bearer(await jwtRoute(server, upstream, count, algorithm))),
    extra,
  );

const accessTokenRuns = (name: string, kinds: readonly ServerKind[], count: number, extra: Extra, others = 0): Run[] =>
  runsOf(
    name,
    kinds,
    async (server, upstream, folder) =>
      requestsFile(folder, "tokens", bearer(await accessTokenRoute(server, upstream, count, others), "/tokens/x")),
    extra,
  );

/**
 * Tokens that come round again only when they were forgotten: more than the node remembers (50,000 tokens or 32 MiB, that
 * is some 34,000 of HS256, 27,000 of ES256 and EdDSA, 15,000 of RS256). The node's own counters prove it.
 */
const NEW_TOKENS: Readonly<Record<Algorithm, number>> = { HS256: 60_000, ES256: 40_000, EdDSA: 40_000, RS256: 24_000 };
const CACHED = { expect: { status: 200, tokens: "cached" } } as const;
const NEW = { expect: { status: 200, tokens: "new" } } as const;

const FIVE_PLUGINS = {
  "request-id": {},
  "ip-restriction": { blacklist: ["10.9.0.0/16"] },
  cors: {},
  "limit-count": { count: 1_000_000_000, time_window: 60, show_limit_quota_header: false },
  "proxy-rewrite": { headers: { set: { "X-Bench": "1" } } },
};

export const SIGN = "/apisix/plugin/jwt/sign?key=bench";
export const signRuns = (
  name: string,
  kinds: readonly ServerKind[],
  ownPaths: readonly string[],
  extra: Extra = {},
): Run[] =>
  runsOf(
    name,
    kinds,
    async (server, _upstream, folder) => {
      if (!server.admin) return requestsFile(folder, "sign", ["/sign"]);
      const plugins = { "jwt-auth": { key: "bench", secret: SECRET } };
      await put(server, "/consumers", { username: "bench", plugins });
      await put(server, "/routes/sign", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } });
      await arrived(server, SIGN, 200);
      return requestsFile(folder, "sign", ownPaths);
    },
    extra,
  );

const tokenRequests: Run["prepare"] = async (server, _upstream, folder) => {
  await put(server, "/authorization_servers/bench", { issuer: "https://auth.bench", algorithms: ["ES256"] });
  const client = { client_id: "bench", client_secret: SECRET, audiences: ["urn:bench"] };
  await put(server, "/consumers", { username: "bench", plugins: { "oauth2-client": client } });
  const plugins = { "authorization-server": { id: "bench" } };
  await put(server, "/routes/auth?wait=all", { uri: "/oauth2/*", plugins });
  const authorization = `Basic ${Buffer.from(`bench:${SECRET}`).toString("base64")}`;
  return requestsFile(folder, "token", [`/oauth2/token\t${authorization}\tform`]);
};
/** More than the signatures that are remembered within one second. */
const PAYLOADS = Array.from({ length: 20_000 }, (_, n) => `${SIGN}&payload=%7B%22n%22%3A${n}%7D`);

const badRuns = runsOf(
  "401 bad signature",
  [HAPROXY_JWT, FAST, GENERAL],
  async (server, upstream, folder) => {
    const [good = ""] = await jwtRoute(server, upstream, 1);
    const bad = `${good.slice(0, good.lastIndexOf(".") + 1)}${"A".repeat(43)}`;
    return requestsFile(folder, "bad", bearer([bad]));
  },
  { expect: { status: 401 } },
);

export const missingRuns = (kinds: readonly ServerKind[]): Run[] =>
  runsOf(
    "404",
    kinds,
    async (server, upstream, folder) => {
      await plainRoute(server, upstream);
      return requestsFile(folder, "none", ["/nothing/here"]);
    },
    { expect: { status: 404 } },
  );

/** A machine client: the same ten lines each time, one of many paths. */
export const linesRuns = (name: string, kinds: readonly ServerKind[], extra: Extra = {}): Run[] =>
  runsOf(
    name,
    kinds,
    async (server, upstream, folder) => {
      const [token = ""] = await jwtRoute(server, upstream, 1);
      const paths = Array.from({ length: 500 }, (_, n) => `/jwt/items/${n}?page=${n % 7}`);
      return requestsFile(
        folder,
        "lines",
        paths.map((path) => `${path}\tBearer ${token}\tlines`),
      );
    },
    extra,
  );

const pluginRuns = (name: string, plugins: (upstream: string) => Readonly<Record<string, unknown>>): Run[] =>
  runsOf(name, [FAST, GENERAL], async (server, upstream, folder) => {
    await plainRoute(server, upstream, plugins(upstream));
    return requestsFile(folder, "plugins", ["/plain/x"]);
  });

const SAMPLED = { name: "parent_base", options: { root: { name: "trace_id_ratio", options: { fraction: 0.01 } } } };
/** The upstream takes the spans: it answers 200 to whatever comes. */
const tracedRuns = runsOf("traces 1 % sampled", [FAST, GENERAL], async (server, upstream, folder) => {
  const collector = { address: upstream.replace("http://", "") };
  await put(server, "/plugin_metadata/opentelemetry", { collector });
  await plainRoute(server, upstream, { opentelemetry: { sampler: SAMPLED } });
  return requestsFile(folder, "traced", ["/plain/x"]);
});

/** The same level on both sides; nginx in the way of its manual. */
const gzipRuns = runsOf(
  "gzip 16 KiB of JSON",
  [NGINX_GZIP, FAST, GENERAL],
  async (server, upstream, folder) => {
    await plainRoute(server, upstream, { gzip: { types: ["application/json"], comp_level: 1 } });
    return requestsFile(folder, "gzip", ["/plain/items\t\tgzip"]);
  },
  { answerBytes: ITEMS.length },
);

/** The upstream is asked, and takes the entries: it answers 200 to whatever comes. */
const askedRuns = [
  ...pluginRuns("forward-auth", (upstream) => ({ "forward-auth": { uri: `${upstream}/auth` } })),
  ...pluginRuns("http-logger", (upstream) => ({ "http-logger": { uri: `${upstream}/entries` } })),
];

/** One upload in chunks among a hundred requests; it is handed over, and its connection closes behind it. */
const MIXED = Array.from({ length: 100 }, (_, n) => (n === 99 ? "/plain/x\t\tchunked" : "/plain/x"));
const mixedRuns = runsOf("1 in 100 handed over", [NGINX, ...OURS], async (server, upstream, folder) => {
  await plainRoute(server, upstream);
  return requestsFile(folder, "mixed", MIXED);
});

/** One core per worker where there are enough: all but the load's. On two cores they share the server's. */
const freeCores = cpus()
  .map((_, core) => String(core))
  .filter((core) => core !== LOAD_CORE);
const WORKERS = Math.max(2, freeCores.length);
const MANY = jotgate(
  `jotgate, ${WORKERS} workers`,
  ["--workers", String(WORKERS)],
  cpus().length > 2 ? freeCores.join(",") : SERVER_CORE,
);

export const SERIES: readonly Series[] = [
  series("plain", [
    ...pathRuns("plain", [NGINX, HAPROXY, FAST, GENERAL], "/plain/x", QUICK),
    ...pathRuns("plain", [NGINX_EQUAL, FASTIFY_JWT, EXPRESS_GATEWAY], "/plain/x"),
  ]),
  series("jwt", [
    ...jwtRuns("jwt one token", [NGINX, HAPROXY_JWT, FASTIFY_JWT, EXPRESS_GATEWAY], 1, "HS256", QUICK),
    ...jwtRuns("jwt one token", OURS, 1, "HS256", { ...CACHED, ...QUICK }),
    ...jwtRuns("jwt one token", [FAST_NEWEST], 1, "HS256", CACHED),
    ...jwtRuns("jwt another token each time", [HAPROXY_JWT], 500, "HS256", {}),
    ...jwtRuns("jwt another token each time", [FAST, FAST_NEWEST], 500, "HS256", CACHED),
    ...linesRuns("ten header lines", [NGINX, HAPROXY_JWT], QUICK),
    ...linesRuns("ten header lines", [FAST], { ...CACHED, ...QUICK }),
    ...accessTokenRuns("access token ES256", [FAST], 1, { ...CACHED, ...QUICK }),
    ...accessTokenRuns("access token 10k tokens", [FAST], 10_000, CACHED, 99),
    ...accessTokenRuns("access token new tokens", [FAST], NEW_TOKENS.ES256, NEW),
    ...jwtRuns("jwt 10k tokens", [HAPROXY_JWT, FASTIFY_JWT], 10_000, "HS256", {}),
    ...jwtRuns("jwt 10k tokens", [FAST], 10_000, "HS256", { ...CACHED, ...QUICK }),
    ...jwtRuns("jwt 10k tokens", [GENERAL], 10_000, "HS256", CACHED),
    ...jwtRuns("jwt new tokens HS256", [FAST], NEW_TOKENS.HS256, "HS256", { ...NEW, ...QUICK }),
    ...jwtRuns("jwt new tokens HS256", [HAPROXY_JWT], NEW_TOKENS.HS256, "HS256", {}),
  ]),
  series(
    "jwt new tokens",
    (["RS256", "ES256", "EdDSA"] as const).flatMap((algorithm) =>
      jwtRuns(`jwt new tokens ${algorithm}`, [FAST], NEW_TOKENS[algorithm], algorithm, NEW),
    ),
  ),
  series("sign", [
    ...signRuns("sign", [NGINX, FAST], [SIGN], QUICK),
    ...signRuns("sign", [FASTIFY_JWT, GENERAL], [SIGN]),
    ...signRuns("sign new payloads", [FAST], PAYLOADS),
    ...runsOf("token endpoint ES256", [FAST], tokenRequests, { method: "POST" }),
  ]),
  series("refusals", [...missingRuns([HAPROXY_404, FAST, GENERAL]), ...badRuns]),
  series("plugins", [
    ...pluginRuns("no plugins", () => ({})),
    ...pluginRuns("five plugins", () => FIVE_PLUGINS),
    ...tracedRuns,
    ...askedRuns,
  ]),
  series("bodies", [
    ...pathRuns("response 1 KiB", [NGINX, ...OURS], "/plain/1k", { answerBytes: 1_024 }),
    ...pathRuns("response 64 KiB", [NGINX, ...OURS], "/plain/64k", { answerBytes: 65_536 }),
    ...gzipRuns,
    ...pathRuns("POST 1 KiB", [NGINX, ...OURS], "/plain/x", { method: "POST", bodyBytes: 1_024 }),
    ...pathRuns("POST 64 KiB", [NGINX, FAST], "/plain/x", { method: "POST", bodyBytes: 65_536 }),
  ]),
  series("handing over", mixedRuns),
  HTTP2,
  series("workers", [
    ...jwtRuns("1 worker", [FAST], 1, "HS256", { ...CACHED, server: "jotgate, 1 worker" }),
    ...jwtRuns(`${WORKERS} workers`, [MANY], 1, "HS256", CACHED),
  ]),
  series(
    "half load",
    [
      ...jwtRuns("half load", [NO_GATEWAY, NGINX, HAPROXY_JWT], 1, "HS256", QUICK),
      ...jwtRuns("half load", [FAST], 1, "HS256", { ...CACHED, ...QUICK }),
    ],
    { case: "half load", server: FAST.name },
  ),
  changes,
  scrapes,
  revoked,
  tables,
];
