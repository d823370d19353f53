/**
 * Which spelling of a path an upstream gets, by `router.upstream_path`: on both lanes and over HTTP/2, bytes in, bytes out.
 */

import { createServer, type Server } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority } from "../support/authority.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

const NAME = "path.test";

let authority: Authority;
let upstream: Server;
/** Request targets, as they came. */
const targets: string[] = [];

beforeAll(async () => {
  authority = openAuthority();
  upstream = createServer((request, response) => {
    targets.push(request.url ?? "");
    response.end("ok");
  });
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
});

afterAll(() => {
  upstream.closeAllConnections();
  upstream.close();
  authority.close();
});

interface Setting {
  readonly setting: string;
  readonly fastLane: "on" | "off";
}

describe.each([
  { setting: "original", fastLane: "on" },
  { setting: "original", fastLane: "off" },
  { setting: "normalized", fastLane: "on" },
] as const)("upstream_path $setting, fast lane $fastLane", ({ setting, fastLane }: Setting) => {
  let node: Node;
  let securePort: number;

  beforeAll(async () => {
    securePort = await freePort();
    const args = ["--fast-lane", fastLane, "--gateway-tls-listen", `127.0.0.1:${securePort}`];
    if (setting !== "normalized") args.push("--router-upstream-path", setting); // the default is tested as such
    node = await startNode("start", { args });
    const address = upstream.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    const target = { type: "roundrobin", nodes: { [`127.0.0.1:${port}`]: 1 } };
    const { cert, key } = authority.issue([NAME]);
    const records: Readonly<Record<string, unknown>> = {
      "/ssls/1": { snis: [NAME], cert, key },
      "/routes/all": { uri: "/*", upstream: target },
      "/routes/open": { uri: "/open/*", plugins: { mocking: { response_status: 204, response_example: "-" } } },
      "/routes/blocked": {
        uri: "/blocked/*",
        plugins: { "uri-blocker": { block_rules: ["secret/"] } },
        upstream: target,
      },
      "/routes/rewritten": {
        uri: "/rewritten/*",
        plugins: { "proxy-rewrite": { regex_uri: ["^/rewritten/(.*)", "/r/$1"] } },
        upstream: target,
      },
      "/routes/z-last": { uri: "/ready", plugins: { mocking: { response_example: "yes" } } },
    };
    for (const [path, record] of Object.entries(records)) {
      const put = await admin(node, "PUT", path, record);
      expect(put.status, JSON.stringify(put.body)).toBe(201);
    }
    await until("the last route", async () => (await fetch(`${node.gateway}/ready`)).ok);
  });

  afterAll(() => node?.stop("SIGKILL"));

  const clients = [
    { client: "HTTP/1.1", send: (target: string) => sendPlain(node, target) },
    { client: "HTTP/2", send: (target: string) => sendHttp2(securePort, target) },
  ];

  test.each(clients)("$client: the client's escapes", async ({ send }) => {
    const rows: readonly { sent: string; original: string; normalized: string }[] = [
      { sent: "/p/g%2Fn/x?a=%2F", original: "/p/g%2Fn/x?a=%2F", normalized: "/p/g/n/x?a=%2F" },
      { sent: "/v/%7Ea%2c%3A%41", original: "/v/%7Ea%2c%3A%41", normalized: "/v/~a,:A" },
      { sent: "/a%20b%3Bc%5Cd", original: "/a%20b%3Bc%5Cd", normalized: "/a%20b;c%5Cd" },
      // What no URL may hold is escaped, whatever the setting.
      {
        sent: '/a|b%2C?q={"c"}^\\',
        original: "/a%7Cb%2C?q=%7B%22c%22%7D%5E%5C",
        normalized: "/a%7Cb,?q=%7B%22c%22%7D%5E%5C",
      },
      // Another path than it looks like: never the client's spelling.
      { sent: "/a%2F..%2Fb%2C", original: "/b,", normalized: "/b," },
      { sent: "/x/%2e%2e/b%2C", original: "/b,", normalized: "/b," },
      { sent: "/a//b%2C", original: "/a/b,", normalized: "/a/b," },
      // A plugin's path is escaped by us.
      { sent: "/rewritten/a%2Cb%20c", original: "/r/a,b%20c", normalized: "/r/a,b%20c" },
    ];
    for (const row of rows) {
      targets.length = 0;
      expect(await send(row.sent), row.sent).toBe(200);
      expect(targets).toEqual([setting === "original" ? row.original : row.normalized]);
    }
  });

  test.each(clients)("$client: the route is chosen by the segments that the upstream gets", async ({ send }) => {
    // "/open%2Fx" is one segment to an upstream that is sent it so; the open route must not take it there.
    targets.length = 0;
    expect(await send("/open%2Fx")).toBe(setting === "original" ? 200 : 204);
    expect(targets).toEqual(setting === "original" ? ["/open%2Fx"] : []);
    expect(await send("/open/%78")).toBe(204);
  });

  test.each(clients)("$client: a path that another reader takes elsewhere is 400", async ({ send }) => {
    targets.length = 0;
    const ways = ["/v/..%5Copen/x", "/v/..\\open/x", "/v/..;/open/x", "/v/%252e%252e/open/x", "/open;a/x", "/open%5Cx"];
    for (const path of ways) expect(await send(path), path).toBe(400);
    expect(targets).toEqual([]);
  });

  test.each(clients)("$client: rules on the decoded path hold whatever the spelling", async ({ send }) => {
    targets.length = 0;
    for (const path of ["/blocked/secret/a", "/blocked/secret%2Fa", "/blocked/%73ecret%2fa"]) {
      expect(await send(path), path).toBe(403);
    }
    expect(targets).toEqual([]);
  });
});

function sendPlain(node: Node, target: string): Promise<number> {
  const { hostname, port } = new URL(node.gateway);
  return new Promise((ok, fail) => {
    const socket = connect(Number(port), hostname, () =>
      socket.write(`GET ${target} HTTP/1.1\r\nHost: ${NAME}\r\nConnection: close\r\n\r\n`),
    );
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", fail);
    socket.on("close", () => ok(Number(text.split(" ")[1])));
  });
}

function sendHttp2(port: number, target: string): Promise<number> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { servername: NAME, ca: authority.cert });
  return new Promise((ok, fail) => {
    session.on("error", fail);
    const stream = session.request({ ":path": target, ":authority": NAME });
    stream.on("error", fail);
    stream.on("response", (headers) => {
      ok(Number(headers[":status"]));
      stream.resume();
      session.close();
    });
  });
}
