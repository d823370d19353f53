/**
 * `npm run cluster`, as a newcomer meets it: it prints what to type, that works through the balancer, a killed gateway is not
 * missed, and Ctrl-C leaves nothing behind.
 */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { ROOT, run, until } from "../support/process.ts";

const haproxyAvailable = ["haproxy", "/usr/sbin/haproxy"].some((path) => !spawnSync(path, ["-v"]).error);

/** Processes whose working folder is `folder`: all that the script started. */
function processesIn(folder: string): number[] {
  const { stdout } = spawnSync("ps", ["-eo", "pid="], { encoding: "utf8" });
  return stdout
    .split("\n")
    .map(Number)
    .filter((pid) => {
      try {
        return pid > 0 && readlinkSync(`/proc/${pid}/cwd`) === folder;
      } catch {
        return false; // gone, or not ours to look at
      }
    });
}

describe.skipIf(!etcdAvailable() || !haproxyAvailable)("npm run cluster", () => {
  test("serves through the balancer, does not miss a killed gateway, ends whole", async () => {
    const cluster = run(process.execPath, [join(ROOT, "scripts/cluster.mjs"), "--free-ports"]);
    onTestFinished(async () => void (await cluster.stop("SIGINT")));
    let ended = false;
    void cluster.exited.then(() => {
      ended = true;
    });
    const runs = (): boolean => ended || cluster.output().includes("Ctrl-C ends all of it.");
    await until("the cluster runs", runs, 90_000).catch((error) => {
      throw new Error(cluster.output(), { cause: error });
    });
    const found = (pattern: RegExp): string => pattern.exec(cluster.output())?.[1] ?? "";
    const folder = found(/output, data +(\S+)/);
    const put = spawnSync("bash", ["-c", found(/Try:\n((?: .*\n){2})/)], { encoding: "utf8" });
    expect(put.stdout, put.stderr).toContain('"key":"/apisix/routes/1"');
    const url = found(/curl (\S+\/anything\/hello)/);
    const call = async (): Promise<number> => (await fetch(url)).status;
    await until("the route", async () => (await call()) === 200);

    const gateway = Number(readFileSync(join(folder, "gateway1", pidFolder(folder), "pid"), "utf8"));
    process.kill(gateway, "SIGKILL");
    await until("the script says who ended", () => cluster.output().includes("gateway1 ended (SIGKILL)"));
    await until("the balancer goes on", async () => (await call()) === 200);
    for (let i = 0; i < 20; i++) expect(await call()).toBe(200);

    expect(processesIn(folder).length).toBeGreaterThan(5);
    cluster.signal("SIGINT");
    expect(await cluster.exited, cluster.output()).toBe(0);
    expect(processesIn(folder)).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });
});

/** The instance folder of the first gateway: its name holds the port. */
function pidFolder(folder: string): string {
  const { stdout } = spawnSync("ls", [join(folder, "gateway1")], { encoding: "utf8" });
  return stdout.split("\n").find((name) => name.startsWith("gateway-")) ?? "";
}
