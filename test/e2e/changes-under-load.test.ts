/**
 * Configuration changed again and again while requests run, on both lanes: not one of them fails, and all of it takes
 * effect.
 */
import { createServer, type Server } from "node:http";
import { request as secureRequest } from "node:https";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { makeToken, SECRET } from "../support/jwt.ts";
import { type LoadAnswer, type LoadRequest, percentile, startLoad } from "../support/load.ts";
import { bounded } from "../support/long-run.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";
import { configOf } from "../support/scrape.ts";

const CHANGES = bounded(100, 3_000);
const EVERY_MS = bounded(60, 100);
const RATE = bounded(30, 200); // requests per second to each lane; a fraction of what one busy core can do

interface Backend {
  readonly name: string;
  readonly port: number;
  stop(): Promise<void>;
  start(): Promise<void>;
}

const SERVER_NAME = "load.test";

type Change = readonly [method: string, path: string, record?: unknown];

const backends: Backend[] = [];
let nodes: Node[] = [];
const securePorts: number[] = [];
let authority: Authority;
const pairs: Pair[] = [];

beforeAll(async () => {
  authority = openAuthority();
  for (let i = 0; i < 3; i++) pairs.push(authority.issue([SERVER_NAME]));
  for (const name of ["a", "b", "c"]) backends.push(await openBackend(name));
  for (let i = 0; i < 2; i++) securePorts.push(await freePort());
  nodes = await Promise.all(
    ["on", "off"].map((lane, i) =>
      startNode("start", { args: ["--fast-lane", lane, "--gateway-tls-listen", `127.0.0.1:${securePorts[i]}`] }),
    ),
  );
  for (const change of START()) await apply(change);
  await allApplied("start");
});

afterAll(async () => {
  for (const node of nodes) await node.stop("SIGKILL");
  for (const backend of backends) await backend.stop();
  authority?.close();
});

/** What there is before the first change: a route for each kind of change. */
const START = (): Change[] => [
  ["PUT", "/upstreams/u", { nodes: nodesOf("a", "b") }],
  ["PUT", "/services/s", { upstream_id: "u" }],
  ["PUT", "/plugin_configs/pc", { plugins: { "request-id": {} } }],
  ["PUT", "/consumers/jack", consumer(0)],
  ["PUT", "/routes/nodes", { uri: "/nodes/*", upstream_id: "u" }],
  ["PUT", "/routes/inline", { uri: "/inline/*", upstream: { nodes: nodesOf("a") } }],
  ["PUT", "/routes/plugins", { uri: "/plugins/*", upstream_id: "u", plugins: {} }],
  ["PUT", "/routes/config", { uri: "/config/*", upstream_id: "u", plugin_config_id: "pc" }],
  ["PUT", "/routes/service", { uri: "/service/*", service_id: "s" }],
  ["PUT", "/routes/consumer", { uri: "/consumer/*", upstream_id: "u", plugins: { "jwt-auth": {} } }],
  ["PUT", "/routes/matching", { uri: "/matching/*", upstream_id: "u" }],
  ["PUT", "/ssls/1", certificate(0)],
  marker("start"),
];

/** Each kind of change by turns; everything it may answer is right for the requests below. */
const KINDS: readonly ((i: number) => Change)[] = [
  (i) => ["PUT", "/upstreams/u", { nodes: nodesOf(...pick(i, [["a"], ["b"], ["a", "b"], ["b", "a", "c"]])) }],
  (i) => ["PUT", "/upstreams/u", { type: pick(i, ["roundrobin", "least_conn", "ewma"]), nodes: nodesOf("a", "b") }],
  (i) => ["PUT", "/upstreams/u", { type: "chash", key: "remote_port", nodes: nodesOf("a", ...pick(i, [[], ["b"]])) }],
  (i) => ["PUT", "/routes/inline", { uri: "/inline/*", upstream: { nodes: nodesOf(pick(i, ["a", "b", "c"])) } }],
  (i) => ["PUT", "/routes/plugins", { uri: "/plugins/*", upstream_id: "u", plugins: pick(i, PLUGINS)(i) }],
  (i) => ["PATCH", "/routes/plugins", { plugins: { "response-rewrite": mark(i) } }],
  (i) => ["PUT", "/plugin_configs/pc", { plugins: pick(i, PLUGINS)(i) }],
  (i) => ["PUT", "/services/s", { upstream_id: "u", plugins: pick(i, PLUGINS)(i) }],
  (i) => ["PUT", "/consumers/jack", consumer(i)],
  (i) => ["PUT", "/global_rules/1", { plugins: { "response-rewrite": mark(i) } }],
  (i) => ["PUT", "/routes/matching", { ...pick(i, MATCHES), upstream_id: "u" }],
  (i) => ["PUT", `/routes/beside-${i % 5}`, { uri: "/matching/*", priority: i % 3, upstream_id: "u" }],
  (i) => ["DELETE", `/routes/beside-${i % 5}`],
  () => ["DELETE", "/global_rules/1"],
  (i) => ["PUT", "/ssls/1", certificate(i + 1)],
];

const MATCHES = [
  { uri: "/matching/*" },
  { uris: ["/matching/*", "/other"], methods: ["GET", "POST"] },
  { uri: "/*", priority: -1 },
  { uri: "/matching/*", vars: [["request_method", "in", ["GET", "POST"]]] },
  { uri: "/matching/*", hosts: ["127.0.0.1", "*.test"] },
];

const PLUGINS: readonly ((i: number) => Readonly<Record<string, unknown>>)[] = [
  () => ({}),
  (i) => ({ "response-rewrite": mark(i) }),
  () => ({ "jwt-auth": {} }),
  () => ({ "limit-count": { count: 1_000_000, time_window: 60 }, "request-id": {} }),
  (i) => ({ "proxy-rewrite": { headers: { set: { "X-Turn": String(i) } } }, cors: {} }),
  () => ({ "ip-restriction": { whitelist: ["127.0.0.0/8", "::1/128"] }, "uri-blocker": { block_rules: ["root.exe"] } }),
  () => ({ "limit-conn": { conn: 10_000, burst: 0, default_conn_delay: 0.1, key: "remote_addr" } }),
  (i) => ({ "jwt-auth": {}, "consumer-restriction": { whitelist: ["jack"] }, "response-rewrite": mark(i) }),
];

const TOKEN = makeToken({ payload: { key: "load-key", exp: Math.floor(Date.now() / 1_000) + 86_400 } });
const PATHS = ["nodes", "inline", "plugins", "config", "service", "consumer", "matching"];
const SMALL = "s".repeat(1_000);
const LARGE = "l".repeat(100_000); // more than is kept to be sent again

function requestFor(n: number): LoadRequest {
  const path = `/${PATHS[n % PATHS.length]}/${n}`;
  const headers = { authorization: TOKEN };
  if (n % 5 === 1) return { path, headers, method: "POST", body: SMALL };
  if (n % 5 === 2) return { path, headers, method: "POST", body: LARGE };
  return { path, headers };
}

const seenMarks = new Set<string>();
const seenBackends = new Set<string>();

function judge({ n, status, headers, body }: LoadAnswer): string | undefined {
  if (status !== 200) return `${requestFor(n).path} ${status}: ${body.slice(0, 200)}`;
  const seen = JSON.parse(body) as { name: string; url: string; bytes: number };
  if (typeof headers["x-mark"] === "string") seenMarks.add(headers["x-mark"]);
  seenBackends.add(seen.name);
  const sent = requestFor(n);
  if (seen.url !== sent.path) return `${sent.path} came as ${seen.url}`;
  return seen.bytes === (sent.body ?? "").length ? undefined : `${sent.path}: ${seen.bytes} bytes of the body came`;
}

test(`no request fails while ${CHANGES} changes are made`, async () => {
  const load = startLoad({
    targets: nodes.map((node, i) => ({ name: i === 0 ? "fast lane" : "general lane", origin: node.gateway })),
    rate: RATE,
    request: requestFor,
    judge,
    keep: 200_000,
  });
  const callers = securePorts.map(callSecurely);
  const delays: number[] = [];
  for (let i = 0; i < CHANGES; i++) {
    const dueMs = performance.now() + EVERY_MS;
    const startMs = performance.now();
    await apply(pick(i, KINDS)(Math.floor(i / KINDS.length)));
    if (i % 10 === 9) {
      await apply(marker(`change ${i}`));
      await allApplied(`change ${i}`);
      delays.push(performance.now() - startMs);
    }
    if (i % 25 === 24) await restartBackend(i);
    const restMs = dueMs - performance.now();
    if (restMs > 0) await new Promise((next) => setTimeout(next, restMs)); // the pace of changes, not a wait for a fact
  }
  await load.stop();
  const secure = await Promise.all(callers.map((caller) => caller.stop()));
  const shown = new Set(secure.flatMap(({ serials }) => [...serials]));
  const times = load.records.map(({ tookMs }) => tookMs);
  process.stdout.write(
    `\n${CHANGES} changes, both lanes: ${load.sent} requests, ${load.failed} failed; p50 ${percentile(times, 0.5).toFixed(1)} ms, ` +
      `p99 ${percentile(times, 0.99).toFixed(1)} ms, max ${percentile(times, 1).toFixed(0)} ms; ` +
      `answered by a change after p50 ${percentile(delays, 0.5).toFixed(0)} ms, max ${percentile(delays, 1).toFixed(0)} ms; ` +
      `${secure.reduce((sum, { sent }) => sum + sent, 0)} handshakes, ${shown.size} certificates seen\n`,
  );
  expect(
    load.failures.map((one) => `${one.target} #${one.n}${one.fresh ? " (new connection)" : ""}: ${one.wrong}`),
  ).toEqual([]);
  // A slow machine may be late, but not idle.
  expect(load.sent).toBeGreaterThan((CHANGES * EVERY_MS * RATE) / 2_000);
  expect(secure.flatMap(({ failures }) => failures)).toEqual([]);
  // The changes were seen, not only survived.
  expect(shown.size).toBe(pairs.length);
  expect(seenMarks.size).toBeGreaterThan(CHANGES / 20);
  expect([...seenBackends].sort()).toEqual(["a", "b", "c"]);
}, 3_600_000);

/** Takes one backend out, stops it for good, starts it again, and takes it in: what a rolling restart does. */
async function restartBackend(turn: number): Promise<void> {
  const [out, ...rest] = turn % 50 === 24 ? ["a", "b", "c"] : ["b", "a", "c"];
  await apply(["PUT", "/upstreams/u", { nodes: nodesOf(...rest) }]);
  await apply(["PUT", "/routes/inline", { uri: "/inline/*", upstream: { nodes: nodesOf(...rest) } }]);
  await apply(marker(`without ${out} ${turn}`));
  await allApplied(`without ${out} ${turn}`);
  const backend = backends.find(({ name }) => name === out);
  await backend?.stop();
  await backend?.start();
}

/** Makes one change at both nodes, and insists that it is taken. */
async function apply([method, path, record]: Change): Promise<void> {
  await Promise.all(
    nodes.map(async (node) => {
      const { status, body } = await admin(node, method, path, record);
      const fine = status < 300 || (method === "DELETE" && status === 404);
      if (!fine) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(body)}`);
    }),
  );
}

/** Both nodes answer by what was written up to this marker, and have no problem with anything. */
async function allApplied(text: string): Promise<void> {
  for (const node of nodes) {
    await until(
      `${text} at ${node.gateway}`,
      async () => (await (await fetch(`${node.gateway}/marker`)).text()) === text,
    );
    expect((await configOf(node)).problems).toEqual([]);
  }
}

interface SecureResult {
  readonly sent: number;
  readonly failures: readonly string[];
  /** Of the certificates that were shown. */
  readonly serials: ReadonlySet<string>;
}

/** Calls over TLS, one connection after the other, and verifies what it is shown. */
function callSecurely(port: number): { stop(): Promise<SecureResult> } {
  const failures: string[] = [];
  const serials = new Set<string>();
  let sent = 0;
  let stopped = false;
  const once = (): Promise<void> =>
    new Promise((done) => {
      const outgoing = secureRequest({
        ...{ host: "127.0.0.1", port, path: `/nodes/${sent++}`, agent: false },
        ...{ servername: SERVER_NAME, ca: authority.cert, headers: { host: SERVER_NAME } },
      });
      outgoing.on("error", (error) => {
        failures.push(`port ${port}: ${error.message}`);
        done();
      });
      outgoing.on("response", (incoming) => {
        serials.add((incoming.socket as TLSSocket).getPeerCertificate().serialNumber);
        if (incoming.statusCode !== 200) failures.push(`port ${port}: ${incoming.statusCode}`);
        incoming.resume();
        incoming.on("end", done);
      });
      outgoing.end();
    });
  const run = async (): Promise<void> => {
    while (!stopped) await once();
  };
  const running = run();
  return {
    async stop() {
      stopped = true;
      await running;
      return { sent, failures, serials };
    },
  };
}

function certificate(i: number): Readonly<Record<string, unknown>> {
  const { cert, key } = pick(i, pairs);
  return { snis: [SERVER_NAME], cert, key };
}

function marker(text: string): Change {
  return ["PUT", "/routes/marker", { uri: "/marker", plugins: { mocking: { response_example: text } } }];
}

function mark(i: number): Readonly<Record<string, unknown>> {
  return { headers: { set: { "X-Mark": `m${i}` } } };
}

function consumer(i: number): Readonly<Record<string, unknown>> {
  const plugins = { "jwt-auth": { key: "load-key", secret: SECRET, algorithm: "HS256" } };
  return { username: "jack", plugins: i % 2 === 0 ? plugins : { ...plugins, "response-rewrite": mark(i) } };
}

function nodesOf(...names: readonly string[]): Readonly<Record<string, number>> {
  const found = backends.filter(({ name }) => names.includes(name));
  return Object.fromEntries(found.map(({ port }, i) => [`127.0.0.1:${port}`, 1 + i]));
}

function pick<T>(i: number, from: readonly T[]): T {
  return from[i % from.length] as T; // true: none of the lists is empty
}

/** Says who it is and what came; ends without breaking what runs. */
async function openBackend(name: string): Promise<Backend> {
  let port = 0;
  let server: Server;
  let ending = false;
  const start = async (): Promise<void> => {
    server = createServer((request, response) => {
      let bytes = 0;
      if (ending) response.shouldKeepAlive = false;
      request.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      request.on("end", () => response.end(JSON.stringify({ name, url: request.url, bytes })));
    });
    ending = false;
    server.keepAliveTimeout = 600_000; // longer than any gateway keeps its connections
    await new Promise<void>((ok) => server.listen(port, "127.0.0.1", ok));
    const address = server.address();
    port = address !== null && typeof address === "object" ? address.port : 0;
  };
  const stop = (): Promise<void> =>
    new Promise((ok) => {
      ending = true;
      server.close(() => ok());
    });
  await start();
  return {
    name,
    get port() {
      return port;
    },
    start,
    stop,
  };
}
