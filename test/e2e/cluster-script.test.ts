/**
 * `npm run cluster`, as a newcomer meets it, with some of its ports taken: it prints what to type, that works through the
 * balancer, its Prometheus sees all of it, a killed gateway is not missed, and Ctrl-C leaves nothing behind.
 */

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { ROOT, run, until } from "../support/process.ts";

const haproxyAvailable = ["haproxy", "/usr/sbin/haproxy"].some((path) => !spawnSync(path, ["-v"]).error);

const prometheusAvailable = !spawnSync("prometheus", ["--version"]).error;

/** Listens there until the test is over, if nobody does. */
function take(port: number): Promise<void> {
  return new Promise((resolve) => {
    const server = createServer().on("error", () => resolve());
    server.listen(port, "127.0.0.1", () => resolve());
    onTestFinished(() => void server.close());
  });
}

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
    await Promise.all([9080, 9180].map(take));
    const cluster = run(process.execPath, [join(ROOT, "scripts/cluster.mjs")]);
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

    expect(cluster.output()).toMatch(/^Taken: .*9080.*9180/m);
    const ports = [...cluster.output().matchAll(/127\.0\.0\.1:(\d+)/g)].map(([, port]) => Number(port));
    expect(ports).not.toContain(9080);
    expect(Math.max(...ports)).toBeLessThan(32_768);
    if (prometheusAvailable) {
      const prometheus = found(/Prometheus +(http:\/\/\S+)/);
      const ask = async (path: string): Promise<unknown> =>
        ((await (await fetch(`${prometheus}/api/v1/${path}`)).json()) as { readonly data: unknown }).data;
      const isSeen = async (): Promise<boolean> => {
        const { activeTargets } = (await ask("targets")) as { activeTargets: readonly { readonly health: string }[] };
        return activeTargets.length === 7 && activeTargets.every(({ health }) => health === "up");
      };
      await until("Prometheus scrapes all seven", isSeen, 60_000);
      const { groups } = (await ask("rules")) as { groups: readonly { readonly rules: readonly object[] }[] };
      expect(groups.flatMap(({ rules }) => rules).length).toBeGreaterThan(5);
    } else expect(cluster.output()).toMatch(/Prometheus +not installed/);

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
