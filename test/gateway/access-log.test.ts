/** The access log as operators see it: what a line says, in both forms and on all lanes, and what it never says. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import type { Routing } from "../../src/gateway/gateway-context.ts";
import { openGatewayServer } from "../../src/gateway/gateway-server.ts";
import { openAccessLog } from "../../src/gateway/log/access-log.ts";
import { openTlsCertificates } from "../../src/gateway/tls/tls-certificates.ts";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { TokenPlaces } from "../../src/plugin/variables/token-places.ts";
import { openSsls } from "../../src/runtime/certificates.ts";
import { openSecrets } from "../../src/secret/resolver.ts";
import { openAuthority } from "../support/authority.ts";
import { LANES } from "./lanes.ts";
import {
  answering,
  ask,
  openClient,
  openRawUpstream,
  type RawUpstream,
  routeOf,
  routingOf,
  upstreamOf,
  waitFor,
} from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "jotgate-access-"));
const closing: (() => Promise<void>)[] = [];
let upstream: RawUpstream;

beforeAll(async () => {
  upstream = await openRawUpstream(
    answering((request) =>
      /^GET \/moved/.test(request)
        ? "HTTP/1.1 302 Found\r\nLocation: /back?token=up-secret\r\nSet-Cookie: sid=up-secret\r\nContent-Length: 0\r\n\r\n"
        : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
  );
});

afterAll(async () => {
  for (const close of closing.reverse()) await close();
  await upstream.close();
  rmSync(folder, { recursive: true, force: true });
});

let files = 0;

interface Input {
  readonly fastLane: boolean;
  readonly template?: string;
  readonly routing?: Routing;
  readonly tls?: boolean;
}

const places = new TokenPlaces();
places.note({ header: "X-Login", query: "login", cookie: "login" });

async function open(input: Input) {
  const target = join(folder, `${++files}.log`);
  const metrics = openMetrics();
  const shared = { clock: systemClock, log: silentLog, metrics };
  const accessLog = openAccessLog({
    ...shared,
    format: input.template === undefined ? "json" : "template",
    template: input.template ?? "",
    target,
    places,
  });
  const ssls = openSsls();
  const secrets = openSecrets({ ...shared, environment: {} });
  const source = { revision: 1n, ssls: () => ssls.entries(), onSslChange: () => () => undefined };
  if (input.tls) {
    const authority = openAuthority();
    ssls.set("1", { ...authority.issue(["a.test"]), sni: "a.test" });
    authority.close();
  }
  const hosts = { ...shared, source, secrets, prefix: "/apisix", minVersion: "TLSv1.2", http2: true } as const;
  const listen = { host: "127.0.0.1", port: 0 };
  const server = await openGatewayServer({
    ...shared,
    listen,
    routing: input.routing ?? routing(),
    settings: { fastLane: input.fastLane },
    accessLog,
    tls: input.tls ? { listen, certificates: openTlsCertificates(hosts) } : undefined,
  });
  closing.push(async () => {
    await server.close(0);
    await accessLog?.close();
    secrets.close();
  });
  return {
    port: server.address?.port ?? 0,
    tlsPort: server.tlsAddress?.port ?? 0,
    /** Closes the log and gives its lines. */
    async lines(): Promise<readonly string[]> {
      await accessLog?.close();
      return readFileSync(target, "utf8").split("\n").slice(0, -1);
    },
  };
}

const consumer = { username: "jack", groupId: undefined, customId: undefined, labels: {} };
const known: PluginPhases = {
  rewrite: (view) => {
    view.consumer = consumer;
    return undefined;
  },
};
const refusing: PluginPhases = { rewrite: () => ({ status: 401, headers: [], body: "no", reason: "jwt_missing" }) };

function routing(): Routing {
  const one = routingOf({
    "*": { upstream: upstreamOf([upstream.port]), plugins: [known] },
    closed: { plugins: [refusing] },
  });
  const unit = routeOf("r1", { upstream: upstreamOf([upstream.port]), plugins: [known] });
  const facts = { ...unit.facts, id: "r1", serviceId: "s1" };
  return {
    ...one,
    match: (view, path) => {
      if (view.path.startsWith("/none")) return undefined;
      return view.path.startsWith("/served") ? { unit, facts } : one.match(view, path);
    },
  };
}

const isoTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe.each(LANES)("JSON, $lane", ({ fastLane }) => {
  test("a request that went upstream", async () => {
    const gateway = await open({ fastLane });
    const body = "POST /served?jwt=secret-token HTTP/1.1\r\nHost: A.test:80\r\nAuthorization: Bearer secret-token\r\n";
    await ask(gateway.port, `${body}Cookie: jwt=secret-token\r\nContent-Length: 3\r\n\r\nabc`);
    const [line = "", ...others] = await gateway.lines();
    expect(others).toEqual([]);
    const got = JSON.parse(line);
    expect(got).toEqual({
      time: expect.stringMatching(isoTime),
      request_id: expect.stringMatching(/^[0-9a-f]{32}$/),
      client: "127.0.0.1",
      method: "POST",
      scheme: "http",
      host: "a.test",
      path: "/served",
      protocol: "HTTP/1.1",
      status: 200,
      route: "r1",
      service: "s1",
      consumer: "jack",
      received_bytes: expect.any(Number),
      sent_bytes: expect.any(Number),
      latency_ms: {
        total: expect.any(Number),
        gateway: expect.any(Number),
        upstream_connect: expect.any(Number),
        upstream_header: expect.any(Number),
        upstream_response: expect.any(Number),
      },
      upstream: { node: `127.0.0.1:${upstream.port}`, address: "127.0.0.1", statuses: [200] },
    });
    const { total, gateway: own, upstream_connect, upstream_response } = got.latency_ms;
    expect(own + upstream_connect + upstream_response).toBeCloseTo(total, 1);
    expect(got.received_bytes).toBeGreaterThan(100);
    expect(got.sent_bytes).toBeGreaterThan(50);
  });

  test.each([
    {
      says: "a plugin's refusal",
      request: "GET /closed HTTP/1.1\r\nHost: a\r\n\r\n",
      want: { status: 401, reason: "jwt_missing", route: "closed" },
    },
    {
      says: "no route",
      request: "GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
      want: { status: 404, reason: "route_not_found" },
    },
    {
      says: "a request without Host",
      request: "GET / HTTP/1.1\r\n\r\n",
      want: { status: 400, reason: "no_host", method: "GET" },
    },
    { says: "what is no HTTP", request: "nonsense\r\n\r\n", want: { status: 400, reason: "malformed_request" } },
  ])("$says has its reason and no upstream", async ({ request, want }) => {
    const gateway = await open({ fastLane });
    await ask(gateway.port, request);
    const [line = ""] = await gateway.lines();
    const got = JSON.parse(line);
    expect(got).toMatchObject({ ...want, client: "127.0.0.1" });
    expect(got.upstream).toBeUndefined();
  });

  test("a client that leaves is 499", async () => {
    let abandoned = false;
    const silent = await openRawUpstream((socket) => {
      socket.on("close", () => {
        abandoned = true;
      });
    });
    const gateway = await open({ fastLane, routing: routingOf({ "*": { upstream: upstreamOf([silent.port]) } }) });
    const client = await openClient(gateway.port);
    client.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    await waitFor(() => silent.all !== "");
    client.close();
    await waitFor(() => abandoned);
    const [line = ""] = await gateway.lines();
    expect(JSON.parse(line)).toMatchObject({ status: 499, reason: "client_aborted" });
    await silent.close();
  });
});

describe("HTTP/2", () => {
  test("requests over it are logged like all others", async () => {
    const gateway = await open({ fastLane: true, tls: true });
    const session = connectHttp2(`https://127.0.0.1:${gateway.tlsPort}`, {
      servername: "a.test",
      rejectUnauthorized: false,
    });
    const got = await new Promise((resolve) => {
      const stream = session.request({ ":path": "/served?jwt=secret", ":authority": "a.test" });
      stream.on("response", (headers) => resolve(headers[":status"]));
      stream.resume();
    });
    const refused = await new Promise((resolve) => {
      const stream = session.request({ ":path": "/x", ":authority": "a.test", ":method": "TRACE" });
      stream.on("response", (headers) => resolve(headers[":status"]));
      stream.resume();
    });
    expect([got, refused]).toEqual([200, 405]);
    session.destroy();
    const lines = (await gateway.lines()).map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({
      protocol: "HTTP/2.0",
      scheme: "https",
      path: "/served",
      status: 200,
      route: "r1",
    });
    expect(lines[1]).toMatchObject({ scheme: "https", method: "TRACE", status: 405, reason: "method" });
  });
});

describe.each(LANES)("templates, $lane", ({ fastLane }) => {
  test.each([
    { template: "$remote_addr $request_method $uri $status", want: "127.0.0.1 GET /served/a b 200" },
    { template: "$route_id/$service_id/$consumer_name", want: "r1/s1/jack" },
    { template: "$missing_thing $reason", want: "- -" },
    { template: '"$request"', want: '"GET /served/a%20b?x=1&jwt=*** HTTP/1.1"' },
    { template: "$request_uri", want: "/served/a b?x=1&jwt=***" },
    { template: "$args", want: "x=1&jwt=***" },
    { template: "$arg_x $arg_jwt $arg_login", want: "1 *** -" },
    { template: "$http_authorization $http_cookie $cookie_a $http_x_login", want: "*** *** *** ***" },
    { template: "$http_user_agent", want: "a\\x22b\\x5C" },
    { template: "$http_referer", want: "https://a/?login=***" },
    { template: "$upstream_status $upstream_addr", want: () => `200 127.0.0.1:${upstream.port}` },
    { template: "$server_protocol $scheme $http_host", want: "HTTP/1.1 http a.test" },
  ])("$template", async ({ template, want }) => {
    const gateway = await open({ fastLane, template });
    const head = "GET /served/a%20b?x=1&jwt=secret HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer secret\r\n";
    const more = 'Cookie: a=secret\r\nX-Login: secret\r\nUser-Agent: a"b\\\r\nReferer: https://a/?login=secret\r\n\r\n';
    await ask(gateway.port, head + more);
    expect(await gateway.lines()).toEqual([typeof want === "string" ? want : want()]);
  });

  test("times, sizes and what the upstream set", async () => {
    const template = "$time_iso8601|$time_local|$request_time|$bytes_sent|$sent_http_location|$sent_http_set_cookie";
    const gateway = await open({ fastLane, template });
    await ask(gateway.port, "GET /moved HTTP/1.1\r\nHost: a\r\n\r\n");
    const [line = ""] = await gateway.lines();
    const iso = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00`;
    const local = String.raw`\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000`;
    expect(line).toMatch(new RegExp(String.raw`^${iso}\|${local}\|\d+\.\d{3}\|\d+\|/back\?token=\*\*\*\|\*\*\*$`));
  });

  test("refused requests have what is known of them", async () => {
    const gateway = await open({ fastLane, template: "$remote_addr $status $reason $request_uri $route_id" });
    await ask(gateway.port, "nonsense\r\n\r\n");
    expect(await gateway.lines()).toEqual(["127.0.0.1 400 malformed_request - -"]);
  });
});

const VARIABLES = [
  "request_uri real_request_uri request request_line args query_string upstream_uri http_authorization http_cookie",
  "http_x_login http_x_api_key http_apikey http_referer http_user_agent http_x_other cookie_jwt cookie_login arg_jwt",
  "arg_login arg_apikey arg_other sent_http_location sent_http_set_cookie remote_addr uri",
]
  .join(" ")
  .split(" ");

const JWT = "eyJhbGciOiJIUzI1NiJ9.eyJrZXkiOiJ1c2VyIn0.VG9wU2VjcmV0U2lnbmF0dXJl";
const SECRET = "VG9wU2VjcmV0U2lnbmF0dXJl";

/** Everywhere a caller may put a credential. */
const PLACES: Readonly<Record<string, (secret: string) => { query?: string; headers?: string }>> = {
  "Authorization bearer": (secret) => ({ headers: `Authorization: Bearer ${secret}\r\n` }),
  "Authorization bare": (secret) => ({ headers: `Authorization: ${secret}\r\n` }),
  "Authorization basic": (secret) => ({ headers: `authorization: basic ${secret}\r\n` }),
  "configured header": (secret) => ({ headers: `X-Login: ${secret}\r\n` }),
  "key header": (secret) => ({ headers: `apikey: ${secret}\r\n` }),
  "API key header": (secret) => ({ headers: `X-API-Key: ${secret}\r\n` }),
  cookie: (secret) => ({ headers: `Cookie: a=1; jwt=${secret}; b=2\r\n` }),
  "query jwt": (secret) => ({ query: `jwt=${secret}` }),
  "query jwt in escapes": (secret) => ({ query: `%6Awt=${secret}` }),
  "query jwt twice": (secret) => ({ query: `jwt=${secret}&jwt=${secret}` }),
  "configured query": (secret) => ({ query: `login=${secret}` }),
  "query apikey": (secret) => ({ query: `apikey=${secret}` }),
  "referer query": (secret) => ({ headers: `Referer: https://a.test/p?jwt=${secret}\r\n` }),
  "referer fragment": (secret) => ({ headers: `Referer: https://a.test/p#access_token=${secret}\r\n` }),
};

describe("no token is ever in a line", () => {
  test.each(["json", "template"])("%s", async (form) => {
    const template = VARIABLES.map((name) => `$${name}`).join("|");
    const gateway = await open({ fastLane: true, ...(form === "template" && { template }) });
    const asked: string[] = [];
    const plain = fc.stringMatching(/^[a-z]{1,6}=[a-z0-9]{0,6}$/);
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.constantFrom(...Object.keys(PLACES)), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(JWT, SECRET),
        fc.array(plain, { maxLength: 3 }),
        fc.constantFrom("/served", "/closed", "/none"),
        async (names, secret, noise, path) => {
          const chosen = names.map((name) => PLACES[name]?.(secret) ?? {});
          // One Authorization at most: two are refused before they are a request.
          const headers = [
            ...new Map(
              chosen.flatMap((one) => (one.headers ? [[one.headers.split(":")[0]?.toLowerCase(), one.headers]] : [])),
            ).values(),
          ];
          const query = [...noise, ...chosen.flatMap((one) => one.query ?? []), ...noise].join("&");
          await ask(gateway.port, `GET ${path}?${query} HTTP/1.1\r\nHost: a.test\r\n${headers.join("")}\r\n`);
          asked.push(query);
        },
      ),
      { numRuns: 150 },
    );
    const lines = await gateway.lines();
    expect(lines).toHaveLength(asked.length);
    for (const line of lines) {
      expect(line).not.toContain(SECRET);
      expect(line).not.toContain("eyJ");
      expect(line).not.toContain("up-secret");
    }
  });
});
