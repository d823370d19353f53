/** Loggers against real targets: what arrives, what is tried again, what is dropped; and that a target that hangs holds nobody up. */
import { createSocket } from "node:dgram";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, createServer as createTcp, type Server as TcpServer } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import type { Plugin } from "../../src/plugin/plugin.ts";
import { type EnvInput, makeEnv, metricValue, runPhases, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { httpLogger } from "../../src/plugins/http-logger.ts";
import { LogBatches } from "../../src/plugins/loggers/log-batches.ts";
import { lokiLogger } from "../../src/plugins/loki-logger.ts";
import { syslog } from "../../src/plugins/syslog.ts";
import { tcpLogger } from "../../src/plugins/tcp-logger.ts";
import { udpLogger } from "../../src/plugins/udp-logger.ts";
import { waitFor } from "../gateway/support.ts";

interface Got {
  readonly path: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

const servers: (Server | TcpServer)[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});
const portOf = async (server: Server | TcpServer): Promise<number> => {
  servers.push(server);
  await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
  return (server.address() as AddressInfo).port;
};

/** Answers the statuses in turn, then 200. */
async function openHttp(...statuses: number[]): Promise<{ port: number; got: Got[] }> {
  const got: Got[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on("end", () => {
      got.push({ path: request.url, headers: request.headers, body });
      response.writeHead(statuses.shift() ?? 200).end();
    });
  });
  return { port: await portOf(server), got };
}

async function openTcp(): Promise<{ port: number; got: string[] }> {
  const got: string[] = [];
  const server = createTcp((socket) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    socket.on("end", () => got.push(text));
    socket.on("error", () => undefined);
  });
  return { port: await portOf(server), got };
}

function logged(plugin: Plugin, conf: object, input: EnvInput = {}) {
  const env = makeEnv({ plugins: [plugin], ...input });
  const phases = env.compile(plugin, conf);
  const log = async (view: ViewInput = {}): Promise<void> => {
    const made = makeView(view);
    await runPhases(phases, made);
    made.response = makeResponse({ status: 201, headers: { "Set-Cookie": "s=hidden-cookie", "X-Up": "1" } });
    phases.log?.(made);
  };
  return { env, log, phases };
}

const count = (env: TestEnv, plugin: string, result: string): Promise<number | undefined> =>
  metricValue(env, "jotgate_logger_entries_total", { plugin, result });

describe("http-logger", () => {
  test("a batch is a list of full entries, without secrets", async () => {
    const { got, port } = await openHttp();
    const { env, log } = logged(httpLogger, { uri: `http://127.0.0.1:${port}/in?a=b`, auth_header: "Basic zzz" });
    const headers = { Host: "shop.test", Authorization: "Bearer hidden-token", Cookie: "s=hidden-cookie", "X-A": "1" };
    await log({ target: "/x?a=1&access_token=hidden-token", headers });
    await log();
    env.clock.advance(4_000);
    expect(got).toEqual([]);
    env.clock.advance(1_000);
    await waitFor(() => got.length === 1);
    const [{ path, headers: sent, body } = { path: "", headers: {}, body: "" }] = got;
    expect([path, sent.authorization, sent["content-type"]]).toEqual(["/in?a=b", "Basic zzz", "application/json"]);
    expect(body).not.toContain("hidden-");
    const entries = JSON.parse(body);
    expect(entries).toHaveLength(2);
    expect(entries[0]).toMatchObject({
      request: { method: "GET", headers: { "x-a": "1", host: "shop.test" }, querystring: { a: "1" } },
      response: { status: 201, headers: { "x-up": "1" } },
      route_id: "r1",
      client_ip: "203.0.113.7",
    });
    await waitFor(async () => (await count(env, "http-logger", "sent")) === 2);
  });

  test("a format of its own, of the metadata, nested, and fields added to the full entry", async () => {
    const { got, port } = await openHttp();
    const uri = `http://127.0.0.1:${port}`;
    const one = { uri, batch_max_size: 1 };
    const log_format = { at: "$host", deep: { who: "$remote_addr", fixed: 5 }, secret: "$http_authorization" };
    const view = { headers: { Host: "h.test", Authorization: "Bearer hidden-token" } };
    await logged(httpLogger, { ...one, log_format }).log(view);
    await logged(httpLogger, one, { metadata: { "http-logger": { log_format: { only: "$uri" } } } }).log({
      target: "/m",
    });
    await logged(httpLogger, { ...one, log_format_extra: { more: "$uri", route_id: "not this" } }).log({
      target: "/n",
    });
    await waitFor(() => got.length === 3);
    const entries = got.map(({ body }) => JSON.parse(body));
    const of = (member: string): object => entries.find((entry) => member in entry);
    expect(of("at")).toMatchObject({ at: "h.test", deep: { who: "203.0.113.7", fixed: 5 }, route_id: "r1" });
    expect(JSON.stringify(of("at"))).not.toContain("hidden-");
    expect(of("only")).toEqual({ only: "/m", route_id: "r1" });
    expect(of("more")).toMatchObject({ more: "/n", route_id: "r1", request: { uri: "/n" } });
  });

  test("lines instead of a list, and bodies of requests that are small enough", async () => {
    const { got, port } = await openHttp();
    const conf = { uri: `http://127.0.0.1:${port}`, concat_method: "new_line", batch_max_size: 2 };
    const { log } = logged(httpLogger, { ...conf, include_req_body: true, max_req_body_bytes: 5 });
    await log({ method: "POST", body: "small" });
    await log({ method: "POST", body: "larger" });
    await waitFor(() => got.length === 1);
    const lines = (got[0]?.body ?? "").split("\n").map((line) => JSON.parse(line).request.body);
    expect(lines).toEqual(["small", undefined]);
    expect(got[0]?.headers["content-type"]).toBe("text/plain");
  });

  test("what did not arrive is tried again as often as it says, then given up", async () => {
    const { got, port } = await openHttp(500, 503);
    const conf = { uri: `http://127.0.0.1:${port}`, batch_max_size: 1, retry_delay: 2 };
    const again = logged(httpLogger, { ...conf, max_retry_count: 2 });
    await again.log();
    await waitFor(() => got.length === 1);
    for (const tries of [2, 3])
      await waitFor(() => {
        again.env.clock.advance(1_000);
        return got.length === tries;
      });
    await waitFor(async () => (await count(again.env, "http-logger", "sent")) === 1);
    const none = await openHttp(500);
    const once = logged(httpLogger, { ...conf, uri: `http://127.0.0.1:${none.port}` });
    await once.log();
    await waitFor(async () => (await count(once.env, "http-logger", "failed")) === 1);
    expect(once.env.logged.map(({ message }) => message)).toContain("log entries are given up");
  });

  test("a target that hangs: nobody waits, entries beyond the bound are dropped, and its time ends it", async () => {
    const port = await portOf(createServer(() => undefined));
    const metadata = { "http-logger": { max_pending_entries: 10 } };
    const conf = { uri: `http://127.0.0.1:${port}`, batch_max_size: 5, timeout: 3 };
    const { env, log } = logged(httpLogger, conf, { metadata });
    for (let n = 0; n < 30; n++) await log();
    expect(await count(env, "http-logger", "dropped")).toBe(20);
    await waitFor(async () => {
      env.clock.advance(1_000);
      return (await count(env, "http-logger", "failed")) === 10;
    });
    await log(); // there is room again
    expect(await count(env, "http-logger", "dropped")).toBe(20);
  });

  test.each([
    { conf: { uri: "no address" }, error: /uri/ },
    {
      conf: { uri: "http://127.0.0.1", include_resp_body: true, include_resp_body_expr: [["a", "<>", "b"]] },
      error: /failed to validate the 'include_resp_body_expr' expression/,
    },
    { conf: { uri: "http://127.0.0.1", include_req_body_expr: [["a", "??", "b"]] }, error: /include_req_body_expr/ },
  ])("$conf is refused", ({ conf, error }) => {
    expect(() => makeEnv().compile(httpLogger, conf)).toThrow(error);
  });
});

describe("batches", () => {
  const rules = { batch_max_size: 10, inactive_timeout: 5, buffer_duration: 12, max_retry_count: 0, retry_delay: 1 };
  const open = (send: (entries: readonly { text: string }[]) => Promise<void>) => {
    const env = makeEnv();
    return { env, batches: new LogBatches({ plugin: "p", rules, pendingMax: 100, send }, env) };
  };

  test("go when nothing came for a while, or when the first is old", async () => {
    const sizes: number[] = [];
    const { batches, env } = open(async (entries) => void sizes.push(entries.length));
    for (let second = 0; second < 15; second++) {
      batches.push({ text: "a" });
      env.clock.advance(1_000);
    }
    expect(sizes).toEqual([10]);
    env.clock.advance(10_000);
    await waitFor(() => sizes.length === 2);
    expect(sizes).toEqual([10, 5]);
  });

  test("closing sends what waits, and waits no longer than two seconds for it", async () => {
    const sent: string[] = [];
    const good = open(async (entries) => void sent.push(...entries.map(({ text }) => text)));
    good.batches.push({ text: "last" });
    await good.batches.close();
    expect(sent).toEqual(["last"]);
    const bad = open(() => new Promise(() => undefined));
    bad.batches.push({ text: "lost" });
    const closing = bad.batches.close();
    bad.env.clock.advance(2_000);
    await closing;
    expect(await count(bad.env, "p", "dropped")).toBe(1);
  });
});

describe("other targets", () => {
  const conf = { host: "127.0.0.1", batch_max_size: 2, log_format: { uri: "$uri" } };
  const entryOf = (uri: string): object => ({ uri, route_id: "r1" });

  test("tcp-logger: a list over a connection of its own; one that nobody takes fails", async () => {
    const { got, port } = await openTcp();
    const { log } = logged(tcpLogger, { ...conf, port });
    await log({ target: "/a" });
    await log({ target: "/b" });
    await waitFor(() => got.length === 1);
    expect(JSON.parse(got[0] ?? "")).toEqual([entryOf("/a"), entryOf("/b")]);
    const closed = createTcp();
    const gone = await portOf(closed);
    await new Promise((ok) => closed.close(ok));
    const lost = logged(tcpLogger, { ...conf, port: gone, batch_max_size: 1 });
    await lost.log();
    await waitFor(async () => (await count(lost.env, "tcp-logger", "failed")) === 1);
  });

  test("syslog: messages of RFC 5424", async () => {
    const { got, port } = await openTcp();
    const { log } = logged(syslog, { ...conf, port });
    await log({ target: "/a", headers: { Host: "h.test" } });
    await log({ target: "/b", headers: { Host: "h.test" } });
    await waitFor(() => got.length === 1);
    const line = (path: string): string => `<46>1 \\S+Z h\\.test apisix \\d+ - - {"uri":"${path}","route_id":"r1"}\\n`;
    expect(got[0]).toMatch(new RegExp(`^${line("/a")}${line("/b")}$`));
  });

  test("udp-logger: what no datagram holds goes in several", async () => {
    const socket = createSocket("udp4");
    const got: string[] = [];
    socket.on("message", (bytes) => got.push(bytes.toString()));
    await new Promise<void>((ok) => socket.bind(0, "127.0.0.1", ok));
    try {
      const { log } = logged(udpLogger, { ...conf, port: socket.address().port, log_format: { x: "$http_x" } });
      for (const letter of ["a", "b"]) await log({ headers: { X: letter.repeat(40_000) } });
      await waitFor(() => got.length === 2);
      expect(got.map((text) => JSON.parse(text)[0].x[0])).toEqual(["a", "b"]);
    } finally {
      socket.close();
    }
  });

  test("loki-logger: a stream for each set of labels, with times in nanoseconds", async () => {
    const { got, port } = await openHttp();
    const own = { endpoint_addrs: [`http://127.0.0.1:${port}`], headers: { "X-A": "1" }, tenant_id: "t" };
    const { log } = logged(lokiLogger, {
      ...own,
      batch_max_size: 3,
      log_format: { uri: "$uri" },
      log_labels: { job: "j", host: "$host", auth: "-$http_authorization" },
    });
    for (const [target, host] of [
      ["/a", "one"],
      ["/b", "two"],
      ["/c", "one"],
    ] as const)
      await log({ target, headers: { Host: host, Authorization: "Bearer hidden-token" } });
    await waitFor(() => got.length === 1);
    expect([got[0]?.path, got[0]?.headers["x-scope-orgid"], got[0]?.headers["x-a"]]).toEqual([
      "/loki/api/v1/push",
      "t",
      "1",
    ]);
    expect(got[0]?.body).not.toContain("hidden-");
    const { streams } = JSON.parse(got[0]?.body ?? "");
    expect(
      streams.map((one: { stream: { host: string }; values: string[][] }) => [one.stream.host, one.values.length]),
    ).toEqual([
      ["one", 2],
      ["two", 1],
    ]);
    expect(streams[0].values[0][0]).toMatch(/^\d{12,13}000000$/);
  });
});
