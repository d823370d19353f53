/** What is tried again, what is not, and what the client gets then. Source: docs/spec/proxy.md sections 3 and 4. */
import { beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../support/ports.ts";
import { LANES, openLane } from "./lanes.ts";
import {
  answering,
  ask,
  OK,
  openClient,
  type RawUpstream,
  type RouteInput,
  send,
  type TestUpstream,
  upstreamOf,
  waitFor,
} from "./support.ts";

describe.each(LANES)("$lane", ({ fastLane }) => {
  let good: RawUpstream;
  let closing: RawUpstream;
  let garbled: RawUpstream;
  let silent: RawUpstream;
  let dead: number;
  const { open, raw } = openLane(fastLane);

  beforeAll(async () => {
    good = await raw(answering(OK));
    closing = await raw((socket) => void socket.destroy());
    garbled = await raw((socket) => void socket.end("nonsense\r\n\r\n"));
    silent = await raw(() => {});
    dead = await freePort();
  });

  const request = (method: string, body = ""): string =>
    `${method} /x HTTP/1.1\r\nHost: h\r\n${body === "" ? "" : `Content-Length: ${body.length}\r\n`}\r\n${body}`;

  test.each([
    { says: "a refused connection, GET", first: () => dead, method: "GET", body: "", status: 200 },
    { says: "a refused connection, POST with a body", first: () => dead, method: "POST", body: "abc", status: 200 },
    { says: "a close before the answer, GET", first: () => closing.port, method: "GET", body: "", status: 200 },
    {
      says: "a close before the answer, PUT with a body",
      first: () => closing.port,
      method: "PUT",
      body: "abc",
      status: 200,
    },
    { says: "a close before the answer, DELETE", first: () => closing.port, method: "DELETE", body: "", status: 200 },
    { says: "a close after a POST was sent", first: () => closing.port, method: "POST", body: "abc", status: 502 },
    { says: "a close after a PATCH was sent", first: () => closing.port, method: "PATCH", body: "abc", status: 502 },
    { says: "no HTTP at all, GET", first: () => garbled.port, method: "GET", body: "", status: 200 },
    { says: "no HTTP at all, POST", first: () => garbled.port, method: "POST", body: "a", status: 502 },
    { says: "silence, GET", first: () => silent.port, method: "GET", body: "", status: 200 },
    { says: "silence, POST", first: () => silent.port, method: "POST", body: "a", status: 504 },
  ])("$says then a good target: $status", async ({ first, method, body, status }) => {
    good.clear();
    const upstream = upstreamOf([first(), good.port], { timeouts: { readMs: 150 } });
    const gateway = await open({ upstream });
    const got = await ask(gateway.port, request(method, body));
    expect(got.status).toBe(status);
    const repeated = status === 200;
    expect(good.all.startsWith(`${method} /x`)).toBe(repeated);
    if (repeated && body !== "") expect(good.all.endsWith(`\r\n\r\n${body}`)).toBe(true);
    await waitFor(() => upstream.outcomes.length === (repeated ? 2 : 1));
    const timedOut = first() === silent.port;
    expect(upstream.outcomes[0]?.kind).toBe(timedOut ? "timeout" : "refused");
    if (repeated) expect(upstream.outcomes[1]).toMatchObject({ kind: "response", status: 200 });
  });

  test.each([
    { says: "no retries left", input: { retries: 0 }, status: 502, shown: "502" },
    { says: "every target refused", input: { retries: 5 }, status: 502, shown: "502, 502" },
    { says: "retry_timeout passed", input: { late: true }, status: 502, shown: "502" },
  ])("$says: $status with JSON and the list of statuses", async ({ input, status, shown }) => {
    const gateway = await open({ upstream: upstreamOf([dead, dead], input) });
    const got = await ask(gateway.port, request("GET"));
    expect(got.status).toBe(status);
    expect(got.body).toBe('{"error_msg":"502 Bad Gateway"}\n');
    expect(got.headers["content-type"]).toBe("application/json");
    expect(got.headers["x-apisix-upstream-status"]).toBe(shown);
  });

  test("a single target is tried again while retries are left", async () => {
    let count = 0;
    const flaky = await raw((socket) => void (++count < 3 ? socket.destroy() : socket.write(OK)));
    const gateway = await open({ upstream: upstreamOf([flaky.port], { retries: 2 }) });
    expect((await ask(gateway.port, request("GET"))).status).toBe(200);
    expect(count).toBe(3);
  });

  test("a status of the upstream is never retried", async () => {
    const busy = await raw(answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
    good.clear();
    const gateway = await open({ upstream: upstreamOf([busy.port, good.port]) });
    expect((await ask(gateway.port, request("GET"))).status).toBe(503);
    expect(good.all).toBe("");
  });

  test("a body beyond 64 KiB is sent again while nothing of it was sent, and not after", async () => {
    const body = "b".repeat(100_000);
    good.clear();
    const first = await open({ upstream: upstreamOf([dead, good.port]) });
    expect((await ask(first.port, request("PUT", body))).status).toBe(200);
    expect(good.all.endsWith(body)).toBe(true);
    const second = await open({ upstream: upstreamOf([closing.port, good.port]) });
    expect((await ask(second.port, request("PUT", body))).status).toBe(502);
  });

  test.each([
    { says: "no upstream", input: {}, status: 503, body: '{"error_msg":"503 Service Temporarily Unavailable"}\n' },
    {
      says: "an upstream id that is not there",
      input: { choice: { kind: "missing" } },
      status: 502,
      body: '{"error_msg":"502 Bad Gateway"}\n',
    },
    {
      says: "an upstream without nodes",
      input: { upstream: upstreamOf([]) },
      status: 503,
      body: '{"error_msg":"503 Service Temporarily Unavailable"}\n',
    },
    {
      says: "a route whose service is missing",
      input: { broken: 404 },
      status: 404,
      body: '{"error_msg":"404 Not Found"}\n',
    },
    {
      says: "a route whose plugin config is missing",
      input: { broken: 503 },
      status: 503,
      body: '{"error_msg":"503 Service Temporarily Unavailable"}\n',
    },
  ] satisfies { says: string; input: RouteInput; status: number; body: string }[])(
    "$says: $status",
    async ({ input, status, body }) => {
      const gateway = await open(input);
      const got = await ask(gateway.port, request("GET"));
      expect([got.status, got.body]).toEqual([status, body]);
      expect(got.headers["content-type"]).toBe("application/json");
      expect(got.headers["server"]).toBe("jotgate");
    },
  );

  test("the keep-alive race is not seen: a reused connection that dies is replaced", async () => {
    // Closes each connection at the moment the second request on it arrives.
    const racing = await raw((socket, seen) => {
      const requests = seen.split("\r\n\r\n").length - 1;
      if (requests > 1) socket.destroy();
      else socket.write(OK);
    });
    const upstream: TestUpstream = upstreamOf([racing.port], { retries: 0 });
    const gateway = await open({ upstream });
    const client = await openClient(gateway.port);
    for (let i = 1; i <= 20; i++) {
      client.send(request("GET"));
      await client.until((text) => text.split("HTTP/1.1 200").length === i + 1);
    }
    client.close();
    await waitFor(() => upstream.outcomes.length === 20);
    expect(upstream.outcomes.every((outcome) => outcome.kind === "response")).toBe(true);
  });

  test("a connection carries no more requests than its pool allows, and none when the pool keeps none", async () => {
    good.clear();
    const before = good.connections;
    const two = await open({ upstream: upstreamOf([good.port], { pool: { requests: 2 } }) });
    for (let i = 0; i < 6; i++) expect((await ask(two.port, request("GET"))).status).toBe(200);
    expect(good.connections - before).toBe(3);
  });

  test("a client of HTTP/1.1 gets all its answers on one connection, in order", async () => {
    const numbered = await raw(
      answering((text) => {
        const body = text.slice(4, text.indexOf(" HTTP"));
        return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      }),
    );
    const gateway = await open({ upstream: upstreamOf([numbered.port]) });
    const count = 50;
    const requests = Array.from({ length: count }, (_, i) => `GET /n${i} HTTP/1.1\r\nHost: h\r\n\r\n`).join("");
    const text = await send(gateway.port, requests, (t) => t.includes(`/n${count - 1}`));
    expect([...text.matchAll(/\/n(\d+)/g)].map((match) => Number(match[1]))).toEqual([...Array(count).keys()]);
  });
});
