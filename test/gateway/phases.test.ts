/** The order of a request's life, what each phase can do, and what happens when one fails. */
import { describe, expect, test } from "vitest";
import { CodedError } from "../../src/base/errors.ts";
import type { Fields, Log } from "../../src/base/log.ts";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { bareAnswer, jsonAnswer, textAnswer } from "../../src/plugin/plugin-answer.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import { LANES, openLane } from "./lanes.ts";
import {
  answering,
  ask,
  OK,
  pipelineOf,
  type RawUpstream,
  routingOf,
  send,
  type TestGateway,
  upstreamOf,
  waitFor,
} from "./support.ts";

const GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

/** Writes down its name in every phase. */
function traced(name: string, trace: string[], pause = false): PluginPhases {
  const note = (phase: string) => (): undefined => void trace.push(`${name} ${phase}`);
  const late = (phase: string) => async (): Promise<undefined> => {
    await new Promise((resolve) => setImmediate(resolve));
    trace.push(`${name} ${phase}`);
  };
  return {
    rewrite: pause ? late("rewrite") : note("rewrite"),
    access: pause ? late("access") : note("access"),
    beforeProxy: note("before"),
    headerFilter: note("filter"),
    log: note("log"),
  };
}

describe.each(LANES)("$lane", ({ fastLane }) => {
  const { openWith, raw } = openLane(fastLane);
  const lines: Fields[] = [];
  const record = (fields: Fields): void => void lines.push(fields);
  const log: Log = { debug: record, info: record, warn: record, error: record, child: () => log };

  const open = (routing: Parameters<typeof openWith>[0]): Promise<TestGateway> =>
    openWith(routing, { ownHeaders: ["Server", "jotgate/9"] }, log);
  const ok = (answer: Parameters<typeof answering>[0] = OK): Promise<RawUpstream> => raw(answering(answer));

  test.each([{ pause: false }, { pause: true }])(
    "phases run in order, global rules first (waiting: $pause)",
    async ({ pause }) => {
      const trace: string[] = [];
      const upstream = await ok();
      const consumer = { username: "jack", groupId: undefined, customId: undefined, labels: {} };
      const auth: PluginPhases = {
        rewrite: (view) => {
          trace.push("auth");
          view.consumer = consumer;
          return undefined;
        },
      };
      const merged = pipelineOf(traced("consumer", trace, pause));
      const gateway = await open(
        routingOf(
          { "*": { upstream: upstreamOf([upstream.port]), plugins: [auth], pipelineFor: () => merged } },
          traced("global", trace, pause),
        ),
      );
      expect((await ask(gateway.port, GET)).status).toBe(200);
      await waitFor(() => trace.length === 11);
      expect(trace).toEqual([
        "global rewrite",
        "auth",
        "consumer rewrite",
        "global access",
        "consumer access",
        "global before",
        "consumer before",
        "global filter",
        "consumer filter",
        "global log",
        "consumer log",
      ]);
    },
  );

  test("of pipelined requests each is logged, with its own bytes, before the next begins", async () => {
    const trace: string[] = [];
    const sent: number[] = [];
    const watch: PluginPhases = {
      access: (view) => {
        trace.push(`access ${view.path}`);
        return view.path === "/own" ? textAnswer(200, "from here", "") : undefined;
      },
      log: (view) => {
        trace.push(`log ${view.path}`);
        sent.push(view.sentBytes);
      },
    };
    const upstream = await ok();
    const gateway = await open(routingOf({ "*": { upstream: upstreamOf([upstream.port]), plugins: [watch] } }));
    const paths = ["/a", "/own", "/b", "/c"];
    const asked = paths.map((path) => `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi`);
    await send(gateway.port, asked.join(""), (text) => text.split("HTTP/1.1 200").length > 4 && text.endsWith("ok"));
    expect(trace).toEqual(paths.flatMap((path) => [`access ${path}`, `log ${path}`]));
    const [a = 0, , b, c] = sent;
    expect(a).toBeGreaterThan("HTTP/1.1 200 OK".length);
    expect([b, c]).toEqual([a, a]);
  });

  test("without a route the global rules run, then 404, then their filters and log", async () => {
    const trace: string[] = [];
    const gateway = await open(routingOf({}, traced("global", trace)));
    const got = await ask(gateway.port, GET);
    expect([got.status, got.body]).toEqual([404, '{"error_msg":"404 Route Not Found"}\n']);
    expect(got.headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(got.headers["server"]).toBe("jotgate/9");
    expect(trace).toEqual(["global rewrite", "global access", "global filter", "global log"]);
  });

  test("a global rule may answer instead of the 404", async () => {
    const gateway = await open(routingOf({}, { access: () => textAnswer(200, "mine", "") }));
    expect((await ask(gateway.port, GET)).body).toBe("mine");
  });

  test("a consumer's missing group: 503", async () => {
    const consumer = { username: "jack", groupId: "g", customId: undefined, labels: {} };
    const auth: PluginPhases = {
      rewrite: (view) => {
        view.consumer = consumer;
        return undefined;
      },
    };
    const gateway = await open(routingOf({ "*": { plugins: [auth], pipelineFor: () => "group_missing" } }));
    expect((await ask(gateway.port, GET)).status).toBe(503);
  });

  test.each([
    { says: "a text is plain text", answer: textAnswer(403, "no", "r"), type: "text/plain; charset=utf-8", body: "no" },
    {
      says: "a table is one line of JSON",
      answer: jsonAnswer(401, { message: "x" }, "r"),
      type: "text/plain; charset=utf-8",
      body: '{"message":"x"}\n',
    },
    {
      says: "its own type stands",
      answer: textAnswer(200, "<a/>", "r", ["content-type", "text/css"]),
      type: "text/css",
      body: "<a/>",
    },
    {
      says: "none from 400 on is the gateway's page",
      answer: bareAnswer(429, "r"),
      type: "application/json",
      body: '{"error_msg":"429 Too Many Requests"}\n',
    },
    { says: "none below 400 is empty", answer: bareAnswer(200, "r", ["X-A", "1"]), type: undefined, body: "" },
    {
      says: "a status of its own",
      answer: bareAnswer(499, "r"),
      type: "application/json",
      body: '{"error_msg":"499 Error"}\n',
    },
  ])("an answer's body: $says", async ({ answer, type, body }) => {
    const gateway = await open(routingOf({ "*": { plugins: [{ access: () => answer }] } }));
    const got = await ask(gateway.port, GET);
    expect([got.status, got.headers["content-type"], got.body]).toEqual([answer.status, type, body]);
  });

  const boom = (): never => {
    throw new Error("boom with details");
  };

  test.each([
    { says: "rewrite throws", plugin: { rewrite: boom }, status: 500 },
    { says: "access rejects", plugin: { access: async () => boom() }, status: 500 },
    { says: "beforeProxy throws", plugin: { beforeProxy: boom }, status: 500 },
    { says: "a header filter throws", plugin: { headerFilter: boom }, status: 500 },
    { says: "log throws: the response stands", plugin: { log: boom }, status: 200 },
    {
      says: "a body filter throws",
      plugin: { headerFilter: (_view, response) => response.filterBody({ limitBytes: 100, apply: boom }) },
      status: 500,
    },
    {
      says: "a CodedError has its own status",
      plugin: {
        access: () => {
          throw new CodedError("SECRET_UNRESOLVED", { message: "secret away" });
        },
      },
      status: 503,
    },
  ] satisfies { says: string; plugin: PluginPhases; status: number }[])(
    "$says: $status, logged, the next request works",
    async ({ plugin, status }) => {
      lines.length = 0;
      const upstream = await ok();
      const gateway = await open(
        routingOf({
          x: { upstream: upstreamOf([upstream.port]), plugins: [plugin] },
          y: { upstream: upstreamOf([upstream.port]) },
        }),
      );
      const got = await ask(gateway.port, GET);
      expect(got.status).toBe(status);
      expect(got.body).not.toContain("boom");
      expect(got.body).not.toContain("secret");
      await waitFor(() => lines.length > 0);
      expect((await ask(gateway.port, GET.replace("/x", "/y"))).status).toBe(200);
    },
  );

  test("header filters edit status and headers; what cannot be sent is left out", async () => {
    const upstream = await ok("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Up: 1\r\nServer: up\r\n\r\nok");
    const seen: (string | undefined)[] = [];
    const plugin: PluginPhases = {
      headerFilter: (_view, response) => {
        seen.push(response.headers.get("content-length"), response.headers.get("server"));
        response.status = 201;
        response.headers.set("X-Up", "2");
        response.headers.append("X-New", "a");
        response.headers.append("X-Split", "a\r\nX-Evil: 1");
        response.headers.append("Transfer-Encoding", "chunked");
        response.headers.append("Content-Length", "77");
        response.headers.set("Server", "plugin");
      },
    };
    const gateway = await open(routingOf({ "*": { upstream: upstreamOf([upstream.port]), plugins: [plugin] } }));
    const got = await ask(gateway.port, GET);
    expect(seen).toEqual(["2", "jotgate/9"]);
    expect([got.status, got.body, got.rest]).toEqual([201, "ok", ""]);
    expect(got.headers).toMatchObject({ "x-up": "2", "x-new": "a", server: "plugin", "content-length": "2" });
    expect(got.head).not.toContain("Evil");
  });

  test.each([
    {
      says: "replaced",
      filter: (_view: RequestView, response: Parameters<NonNullable<PluginPhases["headerFilter"]>>[1]) =>
        response.replaceBody(Buffer.from("new body")),
      want: "new body",
    },
    {
      says: "filtered",
      filter: (_view: RequestView, response: Parameters<NonNullable<PluginPhases["headerFilter"]>>[1]) =>
        response.filterBody({ limitBytes: 1000, apply: (body) => Buffer.from(`<${body.toString()}>`) }),
      want: "<hello>",
    },
  ])("the upstream's body is $says, its length not announced", async ({ filter, want }) => {
    const upstream = await ok(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: x\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    );
    const gateway = await open(
      routingOf({ "*": { upstream: upstreamOf([upstream.port]), plugins: [{ headerFilter: filter }] } }),
    );
    for (let i = 0; i < 3; i++) {
      const got = await ask(gateway.port, GET);
      expect([got.body, got.headers["content-length"], got.headers["etag"]]).toEqual([want, undefined, undefined]);
    }
    expect(upstream.connections).toBe(1);
  });

  test("HEAD shows no length of a body that a filter would change", async () => {
    const upstream = await ok("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    const plugin: PluginPhases = {
      headerFilter: (_view, response) => response.filterBody({ limitBytes: 1000, apply: (body) => body }),
    };
    const gateway = await open(routingOf({ "*": { upstream: upstreamOf([upstream.port]), plugins: [plugin] } }));
    const got = await send(gateway.port, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    expect(got).toMatch(/^HTTP\/1\.1 200 /);
    expect(got).not.toMatch(/content-length/i);
  });

  test("a body larger than its filter takes is a 502", async () => {
    const upstream = await ok(`HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n${"a".repeat(500)}`);
    const plugin: PluginPhases = {
      headerFilter: (_view, response) =>
        response.source === "upstream" && response.filterBody({ limitBytes: 100, apply: (body) => body }),
    };
    const gateway = await open(routingOf({ "*": { upstream: upstreamOf([upstream.port]), plugins: [plugin] } }));
    expect((await ask(gateway.port, GET)).status).toBe(502);
  });

  test("the log phase knows what happened", async () => {
    const upstream = await ok();
    let view: RequestView | undefined;
    const keep = (seen: RequestView): void => {
      view = seen;
    };
    const gateway = await open(routingOf({ "*": { upstream: upstreamOf([upstream.port]), plugins: [{ log: keep }] } }));
    await ask(gateway.port, "POST /x?a=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    await waitFor(() => view !== undefined);
    expect(view?.response?.status).toBe(200);
    expect(view?.upstream).toMatchObject({ node: `127.0.0.1:${upstream.port}`, statuses: [200] });
    expect(view?.upstream.headMs).toBeGreaterThan(0);
    expect(view?.upstream.endMs).toBeGreaterThanOrEqual(view?.upstream.headMs ?? Infinity);
    expect(view?.sentBytes).toBeGreaterThan(50);
    expect(view?.receivedBytes).toBeGreaterThan(30);
    const text = await gateway.scrape();
    expect(text).toContain('jotgate_http_requests_total{route="*",status="200"} 1');
    expect(text).toContain('jotgate_http_request_duration_seconds_count{route="*"} 1');
    expect(text).toContain('jotgate_upstream_duration_seconds_count{route="*"} 1');
    expect(text).toContain("jotgate_http_requests_in_flight 0");
  });
});
