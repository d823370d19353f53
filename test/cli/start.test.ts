/**
 * `npm start` after it installed and built: the script becomes the node. What the package holds.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { freePort } from "../support/ports.ts";
import { ROOT, type Running, run, temporaryFolder, until } from "../support/process.ts";

/** A process that is gone when the test is over, however it ends. */
function started(args: readonly string[]): Running {
  const child = run(process.execPath, args);
  onTestFinished(async () => void (await child.stop("SIGKILL")));
  return child;
}

const START_MS = 60_000; // the script builds first when the sources are newer

async function untilReady(status: number, node: Running): Promise<void> {
  const ready = async (): Promise<boolean> => (await fetch(`http://127.0.0.1:${status}/ready`)).ok;
  await until("ready", ready, START_MS).catch((error: unknown) => {
    throw new Error(node.output(), { cause: error });
  });
}

test("the start script becomes a node that serves, can be reloaded and stops on Ctrl-C", {
  timeout: 300_000,
}, async () => {
  const dataDir = temporaryFolder("start");
  const status = await freePort();
  const addresses = ["--gateway-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--control-listen", "off"];
  const args = [
    join(ROOT, "scripts/start.mjs"),
    ...addresses,
    "--status-listen",
    `127.0.0.1:${status}`,
    "--data-dir",
    dataDir,
  ];
  const node = started(args);
  await untilReady(status, node);
  const pidFile = join(dataDir, "node-0", "pid");
  await until("the process id file", () => existsSync(pidFile));

  const reload = started([join(ROOT, "bin/jotgate.mjs"), "reload", "--data-dir", dataDir]);
  expect([await reload.exited, reload.output()]).toEqual([
    0,
    `told node-0 (process ${node.pid}) to reload\nno setting that can be taken has changed\n`,
  ]);

  node.signal("SIGINT");
  expect(await node.exited, node.output()).toBe(0);
  expect(existsSync(pidFile)).toBe(false);
});

test("a taken port is explained, and nothing is left behind", async () => {
  const dataDir = temporaryFolder("taken");
  const port = await freePort();
  const args = (admin: number) => [
    ...[join(ROOT, "bin/jotgate.mjs"), "start", "--data-dir", dataDir, "--control-listen", "off"],
    ...[
      "--gateway-listen",
      "127.0.0.1:0",
      "--status-listen",
      `127.0.0.1:${port}`,
      "--admin-listen",
      `127.0.0.1:${admin}`,
    ],
  ];
  const node = started(args(port));
  expect(await node.exited).toBe(2);
  expect(node.output()).toContain("admin.listen and status.listen are both");
  const other = started(args(0));
  await untilReady(port, other);
  const second = started(args(0).map((argument) => (argument === dataDir ? temporaryFolder("second") : argument)));
  expect(await second.exited).toBe(1);
  expect(second.output()).toContain(`cannot listen on 127.0.0.1:${port}`);
  expect(await other.stop()).toBe(0);
  expect(readdirSync(dataDir)).not.toContain("pid");
});

test("the package holds what runs and what is read, and nothing else", () => {
  const listed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const packs: unknown = JSON.parse(listed);
  const [pack] = Object.values(packs as Record<string, { files: readonly { path: string }[] }>);
  const paths = (pack?.files ?? []).map(({ path }) => path);
  for (const wanted of [
    "bin/jotgate.mjs",
    "dist/cli/main.js",
    "deploy/haproxy.cfg",
    "docker-compose.yml",
    "LICENSE",
    "README.md",
    "docs/settings.md",
  ]) {
    expect(paths).toContain(wanted);
  }
  expect(paths.filter((path) => /^(src|test|bench|scripts|node_modules|data)\//.test(path))).toEqual([]);
});
