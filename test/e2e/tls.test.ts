/** A node with TLS and an access log, from outside: certificates by the Admin API, swapped while it runs. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request } from "node:https";
import { join } from "node:path";
import type { PeerCertificate, TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Authority, openAuthority } from "../support/authority.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, startNode, temporaryFolder, until } from "../support/process.ts";

let upstream: Server;
let authority: Authority;
let node: Node;
let tlsPort = 0;
let target = "";
const logFile = join(temporaryFolder("access"), "access.log");

beforeAll(async () => {
  authority = openAuthority();
  upstream = createServer((incoming, response) => response.end(String(incoming.headers["x-forwarded-proto"])));
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
  const address = upstream.address();
  target = `127.0.0.1:${address && typeof address === "object" ? address.port : 0}`;
  tlsPort = await freePort();
  const args = ["--gateway-tls-listen", `127.0.0.1:${tlsPort}`];
  args.push("--access-log-format", "json", "--access-log-target", logFile);
  node = await startNode("start", { args });
});

afterAll(async () => {
  await node?.stop("SIGKILL");
  upstream.close();
  upstream.closeAllConnections();
  authority.close();
});

function ask(servername: string, path: string): Promise<{ status: number; body: string; peer: string }> {
  return new Promise((resolve, reject) => {
    const headers = { host: servername };
    const options = { host: "127.0.0.1", port: tlsPort, servername, path, headers, agent: false };
    const asked = request({ ...options, rejectUnauthorized: false }, (response) => {
      const peer: PeerCertificate = (response.socket as TLSSocket).getPeerCertificate();
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body, peer: String(peer.subject.CN) }));
    });
    asked.on("error", reject);
    asked.end();
  });
}

test("a certificate is served, swapped and withdrawn by the Admin API; problems and lines tell the rest", async () => {
  const upstreamOf = { type: "roundrobin", nodes: { [target]: 1 } };
  await admin(node, "PUT", "/routes/r1", { uri: "/x", upstream: upstreamOf });
  const first = authority.issue(["first.test"]);
  const second = authority.issue(["second.test"]);
  await admin(node, "PUT", "/ssls/1", { ...first, sni: "a.test" });
  await until("the certificate", async () => (await ask("a.test", "/x?jwt=secret")).status === 200);
  expect(await ask("a.test", "/x?jwt=secret")).toEqual({ status: 200, body: "https", peer: "first.test" });

  await admin(node, "PUT", "/ssls/1", { ...second, sni: "a.test" });
  await until("the other certificate", async () => (await ask("a.test", "/x")).peer === "second.test");

  const session = connectHttp2(`https://127.0.0.1:${tlsPort}`, { servername: "a.test", rejectUnauthorized: false });
  const status = await new Promise((resolve) => {
    const stream = session.request({ ":path": "/x", ":authority": "a.test" });
    stream.on("response", (headers) => resolve(headers[":status"]));
    stream.resume();
  });
  session.destroy();
  expect(status).toBe(200);

  const refused = await admin(node, "PUT", "/ssls/1", { cert: first.cert, key: second.key, sni: "a.test" });
  expect(refused.status).toBe(400);
  expect((await ask("a.test", "/x")).peer).toBe("second.test");

  const metrics = await (await fetch(`${node.status}/metrics`)).text();
  expect(metrics).toMatch(/jotgate_tls_handshakes_total\{result="ok"\} [1-9]/);
  expect(metrics).toContain('jotgate_tls_certificate_expiry_seconds{sni="a.test"}');

  await admin(node, "DELETE", "/ssls/1");
  await until(
    "the withdrawal",
    async () =>
      await ask("a.test", "/x").then(
        () => false,
        () => true,
      ),
  );

  expect(await node.stop()).toBe(0);
  const lines = readFileSync(logFile, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.length).toBeGreaterThan(3);
  for (const line of lines) expect(line).toMatchObject({ scheme: "https", status: 200, route: "r1", path: "/x" });
  expect(readFileSync(logFile, "utf8")).not.toContain("secret");
});
