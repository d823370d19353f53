import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answerHeader, bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { forwardAuth } from "../../src/plugins/forward-auth.ts";
import { waitFor } from "../gateway/support.ts";

interface Asked {
  readonly method: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

let asked: Asked[] = [];
let answer: (response: ServerResponse) => void = (response) => response.end();
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    asked.push({ method: request.method, headers: request.headers, body: Buffer.concat(chunks) });
    answer(response);
  });
});
let uri = "";
beforeAll(async () => {
  await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
  uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

async function ask(conf: object, input: ViewInput = {}, said: typeof answer = (response) => response.end()) {
  asked = [];
  answer = said;
  const view = makeView(input);
  const phases = makeEnv().compile(forwardAuth, { uri, ...conf });
  return { view, answered: await runPhases(phases, view) };
}

describe("forward-auth", () => {
  test("the service is told the request, and of its headers only those that are named", async () => {
    const conf = {
      request_headers: ["authorization", "X-Forwarded-For", "Host"],
      extra_headers: { "X-Route": "$route_id" },
    };
    const headers = { Host: "Shop.test:80", Authorization: "321", Cookie: "a=1", "X-Forwarded-For": "9.9.9.9" };
    const { answered } = await ask(conf, { method: "DELETE", target: "/a?b=c", headers });
    expect(answered).toBeUndefined();
    expect(asked).toHaveLength(1);
    expect(asked[0]?.method).toBe("GET");
    expect(asked[0]?.headers).toMatchObject({
      "x-forwarded-proto": "http",
      "x-forwarded-method": "DELETE",
      "x-forwarded-host": "shop.test",
      "x-forwarded-uri": "/a?b=c",
      "x-forwarded-for": "203.0.113.7",
      authorization: "321",
      "x-route": "r1",
    });
    expect(asked[0]?.headers).not.toHaveProperty("cookie");
    expect(asked[0]?.headers.host).toMatch(/^127\.0\.0\.1/);
  });

  test("headers of its answer go upstream, and nothing of the caller's under their names", async () => {
    const headers = { "X-User": "forged", X_User: "forged", "X-Role": "forged", "X-Other": "own" };
    const { view } = await ask({ upstream_headers: ["X-User", "X-Role"] }, { headers }, (response) =>
      response.writeHead(204, { "X-User": "ann", "X-Hidden": "1" }).end(),
    );
    const sent = ["x-user", "x_user", "x-role", "x-other", "x-hidden"].map((name) => view.headers.getAll(name));
    expect(sent).toEqual([["ann"], [], [], ["own"], []]);
  });

  test("what it refuses is the caller's answer, with the headers that are named", async () => {
    const { answered } = await ask({ client_headers: ["Location"] }, {}, (response) =>
      response.writeHead(302, { Location: "/login", "X-Secret": "1" }).end("go"),
    );
    expect([answered?.status, bodyText(answered), answered?.reason]).toEqual([302, "go", "forward_auth_refused"]);
    expect([answerHeader(answered, "location"), answerHeader(answered, "x-secret")]).toEqual(["/login", undefined]);
  });

  test("with POST it gets the body byte for byte, and the upstream still gets it", async () => {
    const body = Buffer.from([0, 255, 128, 10]);
    const { answered, view } = await ask({ request_method: "POST" }, { method: "PUT", body });
    expect([answered, asked[0]?.method, asked[0]?.body]).toEqual([undefined, "POST", body]);
    expect(await view.body.read(10)).toEqual(body);
    const large = await ask({ request_method: "POST", max_req_body_size: 3 }, { body });
    expect([large.answered?.status, asked]).toEqual([413, []]);
  });

  test.each([
    { conf: {}, want: 403 },
    { conf: { status_on_error: 503 }, want: 503 },
    { conf: { allow_degradation: true, upstream_headers: ["X-User"] }, want: undefined },
  ])("a service that breaks off: $conf gives $want", async ({ conf, want }) => {
    const broken = await ask(conf, { headers: { "X-User": "forged" } }, (response) => response.destroy());
    expect(broken.answered?.status).toBe(want);
    if (want === undefined) expect(broken.view.headers.has("x-user")).toBe(false);
  });

  test("a service that hangs has its time; metadata services are never asked", async () => {
    asked = [];
    answer = () => undefined;
    const env = makeEnv();
    const pending = runPhases(env.compile(forwardAuth, { uri, timeout: 500 }), makeView());
    await waitFor(() => asked.length === 1);
    env.clock.advance(500);
    expect((await pending)?.status).toBe(403);
    const denied = await ask({ uri: "http://169.254.169.254/latest" });
    expect([denied.answered?.status, asked]).toEqual([403, []]);
  });

  test("names that are no headers' are refused when it is written", () => {
    expect(() => makeEnv().compile(forwardAuth, { uri, upstream_headers: ["a b"] })).toThrow(/a b/);
  });
});
