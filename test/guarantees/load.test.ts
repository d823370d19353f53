/**
 * The open-loop caller itself: it finds what hangs, breaks or is wrong, and is never what breaks on a busy machine.
 */
import { createServer, type RequestListener, type Server } from "node:http";
import { afterEach, expect, test } from "vitest";
import { type Load, type LoadOptions, startLoad } from "../support/load.ts";
import { until } from "../support/until.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function loadOn(listener: RequestListener, options: Partial<LoadOptions> = {}): Promise<Load> {
  const server = createServer(listener);
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  const targets = [{ name: "server", origin: `http://127.0.0.1:${port}` }];
  return startLoad({ targets, rate: 200, request: (n) => ({ path: `/${n}` }), ...options });
}

test("what is never answered is a hang, and each request is counted once", async () => {
  const load = await loadOn(() => {}, { hangMs: 300, open: 5 });
  await until(() => load.failed >= 10, "requests that hang");
  await load.stop();
  expect(load.failures.every(({ wrong }) => wrong === "no end within 300 ms")).toBe(true);
  expect(load.answered).toBe(load.sent);
});

test("no more are open than allowed, and what could not be sent is not made up for", async () => {
  let open = 0;
  let most = 0;
  const load = await loadOn(
    (_, response) => {
      most = Math.max(most, ++open);
      setTimeout(() => {
        open--;
        response.end();
      }, 50);
    },
    { rate: 1_000, open: 5 },
  );
  await until(() => load.answered >= 50, "answers");
  await load.stop();
  expect(most).toBeLessThanOrEqual(5);
  expect(load.failures).toEqual([]);
});

test("time in which this process stood still is no hang", async () => {
  const load = await loadOn((_, response) => setTimeout(() => response.end(), 100), { hangMs: 600, rate: 100 });
  await until(() => load.sent - load.answered > 2, "requests under way");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
  await until(() => load.answered >= 30, "answers");
  await load.stop();
  expect(load.failures).toEqual([]);
});

test.each([
  {
    says: "another status",
    listener: (_, response) => response.writeHead(503).end("away"),
    wrong: /^status 503: away/,
  },
  { says: "a reset", listener: ({ socket }) => socket.resetAndDestroy(), wrong: /ECONNRESET|hang up/ },
  {
    says: "a body that breaks off",
    listener: (_, response) => {
      response.writeHead(200, { "Content-Length": 10 });
      response.write("half", () => response.destroy());
    },
    wrong: /^broken answer/,
  },
] as readonly { says: string; listener: RequestListener; wrong: RegExp }[])(
  "$says is a failure",
  async ({ listener, wrong }) => {
    const load = await loadOn(listener);
    await until(() => load.failed > 0, "a failure");
    await load.stop();
    expect(load.failed).toBe(load.sent);
    for (const failure of load.failures) expect(failure.wrong).toMatch(wrong);
  },
);
