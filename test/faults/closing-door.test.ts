/**
 * A node that is told to stop while callers open ever new connections: G1, G11. Each is answered, or refused before it is
 * one: none that the kernel has completed is reset with the listener.
 */
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, expect, test } from "vitest";
import { openAuthority } from "../support/authority.ts";
import { allowTime, bounded } from "../support/long-run.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

allowTime();

/** Connections under way at any time, on each listener. */
const CALLERS = 12;
const ROUNDS = bounded(1, 20);
const REQUEST = "GET /door HTTP/1.1\r\nHost: a.test\r\n\r\n";
const nodes: Node[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.stop("SIGKILL");
});

interface Tally {
  answered: number;
  refused: number;
  /** Whatever else became of a connection. */
  readonly broken: string[];
}

/** One connection with one request. @returns whether it never was a connection */
function call(port: number, isTls: boolean, tally: Tally): Promise<boolean> {
  return new Promise((done) => {
    const raw = connectPlain(port, "127.0.0.1");
    let isOpen = false;
    let answer = "";
    raw.once("connect", () => {
      isOpen = true;
    });
    const socket: Socket = isTls ? connectTls({ socket: raw, servername: "a.test", rejectUnauthorized: false }) : raw;
    socket.write(REQUEST);
    socket.on("data", (bytes) => {
      answer += bytes;
      if (answer.includes("\r\n\r\nopen")) socket.end();
    });
    const closed = (why: string): void => {
      socket.destroy();
      raw.destroy();
      if (answer.startsWith("HTTP/1.1 200")) tally.answered++;
      else if (!isOpen && why === "ECONNREFUSED") tally.refused++;
      else tally.broken.push(`${isTls ? "TLS" : "plain"}: ${why} after ${answer.length} bytes`);
      done(!isOpen && why === "ECONNREFUSED");
    };
    let isClosed = false;
    const once = (why: string): void => {
      if (isClosed) return;
      isClosed = true;
      closed(why);
    };
    for (const each of new Set([raw, socket])) {
      each.on("error", (error: NodeJS.ErrnoException) => once(error.code ?? error.message));
      each.on("close", () => once("closed"));
    }
  });
}

/** Opens connections until the door is closed. */
async function keepCalling(port: number, isTls: boolean, tally: Tally): Promise<void> {
  while (!(await call(port, isTls, tally)));
}

for (const [workers, signal] of [
  ["1", "SIGTERM"],
  ["2", "SIGTERM"],
  ["2", "SIGQUIT"],
] as const)
  test(`G1 G11: ${workers} worker(s), ${signal}: every new connection is answered or refused, plain and TLS`, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const tlsPort = await freePort();
      const args = ["--workers", workers, "--gateway-tls-listen", `127.0.0.1:${tlsPort}`, "--drain-time", "10s"];
      const node = await startNode("start", { args });
      nodes.push(node);
      const authority = openAuthority();
      await admin(node, "PUT", "/ssls/1", { ...authority.issue(["a.test"]), sni: "a.test" });
      authority.close();
      await admin(node, "PUT", "/routes/door", {
        uri: "/door",
        plugins: { mocking: { response_example: "open", content_type: "text/plain" } },
      });
      const port = Number(new URL(node.gateway).port);
      const tally: Tally = { answered: 0, refused: 0, broken: [] };
      for (const isTls of [false, true])
        await until("the route is served", async () => {
          const tried: Tally = { answered: 0, refused: 0, broken: [] };
          await call(isTls ? tlsPort : port, isTls, tried);
          return tried.answered > 0;
        });
      const callers = Array.from({ length: 2 * CALLERS }, (_, i) =>
        keepCalling(i % 2 ? tlsPort : port, i % 2 === 1, tally),
      );
      await until("callers are served", () => tally.answered > 200);
      node.signal(signal);
      await Promise.all(callers);
      expect(await node.exited).toBe(0);
      expect(tally.broken).toEqual([]);
      expect(tally.refused).toBe(2 * CALLERS);
    }
  });
