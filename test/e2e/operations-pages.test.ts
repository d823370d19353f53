// biome-ignore-all lint/suspicious/noTemplateCurlyInString: pages hold variables of shells
/**
 * The pages of docs/operations are executable: every command of every page runs, on a node with the embedded store, one
 * etcd that is filled and one that is not. Programs that would change this machine stand for themselves as stubs, which want
 * the files that they are given.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEtcd } from "../support/etcd.ts";
import { blocksOf, runPage } from "../support/page-steps.ts";
import { freePort, freePorts } from "../support/ports.ts";
import { ADMIN_KEY, ROOT, startNode, temporaryFolder } from "../support/process.ts";

const folder = temporaryFolder("pages");
const replaced = new Map<string, string>();
const ends: (() => unknown)[] = [];
const PAGES = join(ROOT, "docs/operations");

/** A program that does nothing but look whether the files of the project that it is given are there. */
function stub(name: string, more = ""): void {
  const text = `#!/bin/bash\nfor one in "$@"; do case "$one" in deploy/*) test -e "$one" || exit 1;; esac; done\n${more}\n`;
  writeFileSync(join(folder, "bin", name), text);
  chmodSync(join(folder, "bin", name), 0o755);
}

beforeAll(async () => {
  const gateway = await freePort();
  for (const name of ["bin", "etc/systemd/system", "usr/lib/sysusers.d", "opt/jotgate/bin", "gateway"])
    mkdirSync(join(folder, name), { recursive: true });
  symlinkSync(join(ROOT, "deploy"), join(folder, "deploy"));
  stub("jotgate", `exec '${process.execPath}' '${join(ROOT, "bin/jotgate.mjs")}' "$@"`);
  symlinkSync(join(folder, "bin/jotgate"), join(folder, "opt/jotgate/bin/jotgate"));
  for (const name of ["systemctl", "systemd-sysusers", "kubectl", "npm"]) stub(name);
  if (spawnSync("etcdutl", ["version"]).status !== 0) stub("etcdutl"); // Debian's etcd-client brings none
  writeFileSync(join(folder, "passphrase"), "a passphrase of some length\n");
  const [filled, empty, node] = await Promise.all([
    startEtcd(),
    startEtcd(),
    startNode("start", { dataDir: join(folder, "data"), ports: { gateway }, env: { JACK_SECRET: "s".repeat(32) } }),
  ]);
  ends.push(filled.stop, empty.stop, () => node.stop());
  const [admin, gateway2, ...more] = await freePorts(8);
  const inBackground = (command: string, status: number | undefined, listen: string): string =>
    `${command} --status-listen 127.0.0.1:${status} --control-listen off ${listen} >>'${folder}/nodes.log' 2>&1 &
     echo $! >>'${folder}/pids'; curl -sf --retry 60 --retry-delay 1 --retry-all-errors http://127.0.0.1:${status}/ready`;
  const [first] = filled.endpoints;
  const apart = (name: string): string => `--data-dir '${join(folder, name)}'`;
  replaced
    .set(
      "jotgate admin   --etcd http://10.0.0.1:2379 &",
      inBackground(`jotgate admin --etcd ${first} ${apart("a")}`, more[0], `--admin-listen 127.0.0.1:${admin}`),
    )
    .set(
      "jotgate gateway --etcd http://10.0.0.1:2379 &",
      inBackground(
        `jotgate gateway --etcd ${first} --workers 1 ${apart("g")}`,
        more[1],
        `--gateway-listen 127.0.0.1:${gateway2}`,
      ),
    )
    .set(
      "jotgate start --file gateway.yaml",
      inBackground(
        `jotgate start --file gateway.yaml ${apart("s")}`,
        more[2],
        `--gateway-listen 127.0.0.1:${more[3]} --workers 1`,
      ),
    )
    .set("http://10.0.0.1:2379", first ?? "")
    .set("http://10.0.1.1:2379", empty.endpoints[0] ?? "")
    .set("http://127.0.0.1:9180", node.admin)
    .set("JOTGATE_ADMIN_KEY=…", `JOTGATE_ADMIN_KEY=${ADMIN_KEY}`)
    .set("/run/secrets/backup-passphrase", join(folder, "passphrase"))
    .set("node-9080", `node-${gateway}`);
  for (const place of ["/etc/", "/usr/lib/", "/opt/", "/var/lib/"]) replaced.set(place, join(folder, place));
});

afterAll(async () => {
  try {
    for (const pid of readFileSync(join(folder, "pids"), "utf8").trim().split("\n")) process.kill(Number(pid));
  } catch {
    // none was started
  }
  for (const end of ends) await end();
});

/** Pages in an order in which each finds what it needs. `diff` says by its code that something differs. */
const ORDER: readonly { readonly page: string; readonly commands: number; readonly mayFail?: RegExp }[] = [
  { page: "status.md", commands: 1 },
  { page: "files.md", commands: 4, mayFail: /^jotgate diff/ },
  { page: "reload.md", commands: 1 },
  { page: "standalone.md", commands: 1 },
  { page: "move-to-etcd.md", commands: 2 },
  { page: "backup.md", commands: 2 },
  { page: "etcd-snapshots.md", commands: 1 },
  { page: "install.md", commands: 3 },
  { page: "alerts.md", commands: 0 },
  { page: "upgrade.md", commands: 0 },
];

test("every page of the folder is here", () => {
  expect(ORDER.map(({ page }) => page).sort()).toEqual(readdirSync(PAGES).sort());
});

test.each(ORDER)("docs/operations/$page", { timeout: 180_000 }, async ({ page, commands, mayFail }) => {
  const [yaml] = blocksOf(readFileSync(join(PAGES, page), "utf8"), "yaml");
  if (yaml !== undefined) writeFileSync(join(folder, page === "files.md" ? "gateway/all.yaml" : "gateway.yaml"), yaml);
  const variables = { PATH: `${join(folder, "bin")}:${process.env["PATH"]}` };
  const ran = await runPage(`docs/operations/${page}`, replaced, variables, { folder, mayFail });
  expect(ran).toBe(commands);
});
