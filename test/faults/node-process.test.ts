/**
 * Gateways that are stopped, starved of descriptors, or whose clock is moved: G1, G8, G10, G11, G12.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { reportFault } from "../support/fault-report.ts";
import { recordOf } from "../support/ledger.ts";
import type { LoadRecord } from "../support/load.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";
import { openWorld, type World } from "../support/world.ts";

allowTime();

/** How long a node that is told to stop still accepts connections; see src/node/node.ts. */
const UNREADY_MS = 1_000;
const prlimit = spawnSync("prlimit", ["--version"]).status === 0;

describe.skipIf(!etcdAvailable())("gateways behind a balancer that watches /ready", () => {
  let world: World;

  beforeAll(async () => {
    world = await openWorld({ gateways: 2, rate: bounded(100, 500) });
  });

  afterAll(async () => {
    await world?.close();
  });

  test("G1 G11: 38 each is stopped by SIGTERM under load: no request fails, it ends with 0, within its drain time", async () => {
    const exits: number[] = [];
    /** Nodes whose balancer, this process, asked only after they had closed their listener, with when they were told. */
    const late = new Map<string, number>();
    for (const [i, node] of world.gateways.entries()) {
      // What a balancer does: it asks /ready and sends no more once that is not 200.
      const unready = until(
        "not ready",
        async () => (await fetch(`${node.status}/ready`)).status === 503,
        10_000,
        10,
      ).then(() => world.load.leave(`gateway ${i}`));
      const slow = slowUpload(node, world.load.sent);
      await slow.begun;
      const startMs = performance.now();
      node.signal("SIGTERM");
      await unready;
      if (performance.now() - startMs > UNREADY_MS) late.set(`gateway ${i}`, startMs);
      slow.finish();
      expect(await slow.answered).toBe(200);
      expect(await node.exited).toBe(0);
      exits.push(performance.now() - startMs);
    }
    await world.load.stop();
    reportFault({
      fault: "38 SIGTERM under load, with a slow upload",
      how: "SIGTERM, the balancer leaves when /ready says 503",
      ...{ sent: world.load.sent, failed: world.load.failed, freshMs: undefined, guarantees: "G1 G11" },
      held: world.load.failed === 0,
      note: `ended after ${exits.map((ms) => ms.toFixed(0)).join(", ")} ms`,
    });
    // Where no balancer noticed in time, callers meet a closed door.
    const excused = ({ target, dueMs, status }: LoadRecord): boolean =>
      status === 0 && dueMs > (late.get(target) ?? Number.POSITIVE_INFINITY);
    expect(world.load.failures.filter((failure) => !excused(failure))).toEqual([]);
    expect(Math.max(...exits)).toBeLessThan(slack(30_000));
  });
});

/** A request whose body is still on its way. */
function slowUpload(node: Node, n: number): { begun: Promise<void>; finish(): void; answered: Promise<number> } {
  let finish: () => void = () => {};
  let begin: () => void = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const answered = new Promise<number>((resolve, reject) => {
    const outgoing = request(`${node.gateway}/load/up${n}`, { method: "POST", headers: { "Content-Length": 10 } });
    outgoing.on("error", reject);
    outgoing.on("response", (incoming) => {
      incoming.resume();
      incoming.on("end", () => resolve(incoming.statusCode ?? 0));
    });
    outgoing.write("hello", () => begin());
    finish = () => outgoing.end("world");
  });
  return { begun, finish: () => finish(), answered };
}

describe("one machine", () => {
  const ends: (() => unknown)[] = [];

  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  async function started(options: Parameters<typeof startNode>[1]): Promise<Node> {
    const node = await startNode("start", options);
    ends.push(() => node.stop("SIGKILL"));
    return node;
  }

  test("G11: a second SIGTERM ends a node that still drains, at once", async () => {
    const upstream = await listening(createServer(() => {})); // never answers
    ends.push(() => upstream.server.closeAllConnections());
    ends.push(() => upstream.server.close());
    const node = await started({ args: ["--drain-time", "60s"] });
    await admin(node, "PUT", "/routes/held", {
      uri: "/held",
      upstream: { type: "roundrobin", nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
    });
    const held = until("the route", async () => (await fetch(`${node.gateway}/held`)).status !== 404, 60_000);
    held.catch(() => undefined); // it is broken on purpose
    await until("a request is under way", () => upstream.sockets() > 0);
    node.signal("SIGTERM");
    await until("it drains", async () => (await fetch(`${node.status}/ready`)).status === 503);
    // A repetition within moments counts as the same signal: npm sends one too.
    await new Promise((resolve) => setTimeout(resolve, 700));
    const startMs = performance.now();
    node.signal("SIGTERM");
    await node.exited;
    expect(performance.now() - startMs).toBeLessThan(slack(2_000));
  });

  test.skipIf(!prlimit)(
    "G10 G12: 41 out of descriptors new callers wait or are refused, and all is well when others leave",
    async () => {
      const node = await started({});
      await admin(node, "PUT", "/routes/a", recordOf("/a"));
      await until("the route", async () => (await fetch(`${node.gateway}/a`)).ok);
      for (const pid of [node.pid, ...childrenOf(node.pid)])
        execFileSync("prlimit", ["--pid", String(pid), "--nofile=160:160"]);
      const port = Number(new URL(node.gateway).port);
      const flood: Socket[] = [];
      ends.push(() => flood.map((socket) => socket.destroy()));
      for (let i = 0; i < 400; i++) {
        const socket = connect(port, "127.0.0.1");
        socket.on("error", () => {}); // refused, which is one of the right answers
        flood.push(socket);
      }
      await until("the flood has arrived", () => flood.filter((socket) => !socket.connecting).length >= 300);
      await new Promise((resolve) => setTimeout(resolve, 500));
      for (const socket of flood) socket.destroy();
      await until("callers are served again", async () => (await fetch(`${node.gateway}/a`)).ok, slack(10_000));
      await until("the status port answers", async () => (await fetch(`${node.status}/ready`)).ok, slack(10_000));
      expect(node.output().split("\n").length).toBeLessThan(150);
      expect(await node.stop()).toBe(0);
    },
  );

  test("G6 G12: 39 the clock jumps an hour: exp follows it, nothing else does", async () => {
    const folder = mkdtempSync(join(tmpdir(), "jotgate-clock-"));
    ends.push(() => rmSync(folder, { recursive: true, force: true }));
    const offset = join(folder, "offset");
    const shim = join(folder, "clock.mjs");
    writeFileSync(offset, "0");
    writeFileSync(
      shim,
      `import { readFileSync } from "node:fs";
const now = Date.now;
let by = 0;
setInterval(() => { by = Number(readFileSync(${JSON.stringify(offset)}, "utf8")) || 0; }, 20).unref();
Date.now = () => now() + by;
`,
    );
    const node = await started({ env: { NODE_OPTIONS: `--import ${shim}` } });
    await admin(node, "PUT", "/consumers", { username: "jack", plugins: { "jwt-auth": { key: "jack", exp: 600 } } });
    await admin(node, "PUT", "/routes/sign", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } });
    const plugins = { "jwt-auth": {}, ...(recordOf("")["plugins"] as object) };
    await admin(node, "PUT", "/routes/private", { uri: "/private", plugins });
    const token = await until("a token", async () => {
      const answer = await fetch(`${node.gateway}/apisix/plugin/jwt/sign?key=jack`);
      return answer.ok ? answer.text() : undefined;
    });
    const call = async (): Promise<number> =>
      (await fetch(`${node.gateway}/private`, { headers: { authorization: token } })).status;
    await until("the token counts", async () => (await call()) === 200);
    writeFileSync(offset, "3600000");
    await until("it is expired an hour later, remembered or not", async () => (await call()) === 401);
    writeFileSync(offset, "-3600000");
    await until("an hour before its making it is as good as before", async () => (await call()) === 200);
    expect((await fetch(`${node.status}/ready`)).status).toBe(200);
    expect((await admin(node, "PUT", "/routes/later", recordOf("/later"))).status).toBe(201);
    await until("a change arrives", async () => (await fetch(`${node.gateway}/later`)).ok);
  });
});

function childrenOf(pid: number): number[] {
  const found = spawnSync("pgrep", ["-P", String(pid)], { encoding: "utf8" });
  return (found.stdout ?? "").split("\n").filter(Boolean).map(Number);
}

async function listening(server: Server): Promise<{ server: Server; port: number; sockets(): number }> {
  let sockets = 0;
  server.on("connection", () => sockets++);
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  return { server, port: address !== null && typeof address === "object" ? address.port : 0, sockets: () => sockets };
}
