/** The program's log may be unreadable, full or stuck: the node goes on, with one process and with workers. */
import { execFileSync, spawn } from "node:child_process";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { freePort } from "../support/ports.ts";
import { ADMIN_KEY, ROOT, temporaryFolder, until } from "../support/process.ts";

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0).reverse()) stop();
});

/** A pipe that is full and that nobody reads. */
function stuckPipe(): number {
  const path = join(temporaryFolder("stuck"), "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const filler = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  expect(() => {
    for (;;) writeSync(filler, "x".repeat(4_096));
  }).toThrow("EAGAIN");
  closeSync(filler);
  stops.push(() => closeSync(reader));
  return openSync(path, constants.O_WRONLY);
}

/** @param stderr descriptor; given away */
async function startWith(stderr: number, args: readonly string[]) {
  const [admin, gateway, status] = [await freePort(), await freePort(), await freePort()];
  const child = spawn(
    process.execPath,
    [
      ...[join(ROOT, "bin/jotgate.mjs"), "start", "--data-dir", temporaryFolder("log")],
      ...["--admin-listen", `127.0.0.1:${admin}`, "--gateway-listen", `127.0.0.1:${gateway}`],
      ...["--status-listen", `127.0.0.1:${status}`, "--control-listen", "off", ...args],
    ],
    { stdio: ["ignore", "ignore", stderr], env: { PATH: process.env["PATH"], JOTGATE_ADMIN_KEY: ADMIN_KEY } },
  );
  closeSync(stderr);
  stops.push(() => void child.kill("SIGKILL"));
  const exited = new Promise<number | string | null>((ok) => child.on("close", (code, signal) => ok(code ?? signal)));
  const ready = async (): Promise<number> =>
    (await fetch(`http://127.0.0.1:${status}/ready`, { signal: AbortSignal.timeout(5_000) })).status;
  await until("the node is ready", async () => (await ready()) === 200);
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${status}/metrics`)).text();
  return { child, exited, ready, metrics, admin: `http://127.0.0.1:${admin}`, gateway: `http://127.0.0.1:${gateway}` };
}

const PLACES = [
  { stderr: "a pipe that nobody reads", open: stuckPipe },
  { stderr: "a full disk", open: () => openSync("/dev/full", "w") },
];
const SIZES = [
  { processes: "one process", args: ["--workers", "1"] },
  { processes: "two workers", args: ["--workers", "2"] },
];
const CASES = PLACES.flatMap((place) => SIZES.map((size) => ({ ...place, ...size })));

describe.each(CASES)("stderr on $stderr, $processes", ({ open, args, stderr }) => {
  test("warnings about traffic, writes, reload and stop go on; lost lines are counted", async () => {
    const node = await startWith(open(), args);
    const dead = await freePort();
    const put = await fetch(`${node.admin}/apisix/admin/routes/1?wait=all`, {
      method: "PUT",
      headers: { "X-API-KEY": ADMIN_KEY },
      body: JSON.stringify({ uri: "/*", upstream: { type: "roundrobin", nodes: { [`127.0.0.1:${dead}`]: 1 } } }),
    });
    expect(put.status).toBe(201);
    for (let i = 0; i < 20; i++) {
      const answer = await fetch(`${node.gateway}/${i}`, { signal: AbortSignal.timeout(5_000) });
      expect(answer.status).toBe(502);
    }
    node.child.kill("SIGHUP");
    expect(await node.ready()).toBe(200);
    const dropped = async (): Promise<number> =>
      Number(/jotgate_log_lines_total\{result="dropped"\} (\d+)/.exec(await node.metrics())?.[1]);
    if (stderr === "a full disk") await until("dropped lines are counted", async () => (await dropped()) > 0);
    else expect(await dropped()).toBeGreaterThanOrEqual(0);
    node.child.kill("SIGTERM");
    expect(await node.exited).toBe(0);
  });
});
