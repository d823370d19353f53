/**
 * The recorded behaviour of a real APISIX, played against real child processes: on both stores and through both lanes.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { etcdAvailable, startEtcd } from "../support/etcd.ts";
import { freePortRange } from "../support/ports.ts";
import { ADMIN_KEY, type Node, ROOT, run, startNode, VIEWER_KEY } from "../support/process.ts";

/** What the runner's README asks of the gateway's environment. */
const ENVIRONMENT = {
  JACK_JWT_AUTH_KEY: "jack-key",
  PEER_KEY_AUTH: "env-key-1",
  PEER_JSON: '{"k1":"json-env-key"}',
};

const FOLDER = join(ROOT, "test/conformance/scenarios");
const AREAS = [
  ...new Set(
    readdirSync(FOLDER).map((file) => (JSON.parse(readFileSync(join(FOLDER, file), "utf8")) as { area: string }).area),
  ),
].sort();

interface World {
  readonly says: string;
  open(): Promise<{ admin: string; gateway: string; stop(): Promise<void> }>;
}

const single = (args: readonly string[]) => async () => {
  const node = await startNode("start", { env: ENVIRONMENT, args });
  return { admin: node.admin, gateway: node.gateway, stop: () => stopAll([node]) };
};

const WORLDS: readonly World[] = [
  { says: "embedded store, fast lane", open: single([]) },
  { says: "embedded store, general lane", open: single(["--fast-lane", "off"]) },
  {
    says: "etcd, admin and gateway apart",
    async open() {
      const etcd = await startEtcd({ members: 1 });
      const args = { etcd: etcd.endpoints, env: ENVIRONMENT };
      const admin = await startNode("admin", args);
      const gateway = await startNode("gateway", { ...args, args: ["--workers", "1"] });
      return {
        admin: admin.admin,
        gateway: gateway.gateway,
        async stop() {
          await stopAll([gateway, admin]);
          await etcd.stop();
        },
      };
    },
  },
];

async function stopAll(nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) await node.stop();
}

for (const world of WORLDS) {
  const needsEtcd = world.says.startsWith("etcd");
  describe.skipIf(needsEtcd && !etcdAvailable())(`recorded behaviour on ${world.says}`, () => {
    const opened = world.open();
    opened.catch(() => undefined); // reported by every test that awaits it
    afterAll(async () => (await opened).stop());

    test.each(AREAS)("area %s answers as recorded", { timeout: 240_000 }, async (area) => {
      const { admin, gateway } = await opened;
      const base = await freePortRange(5);
      const runner = run(process.execPath, [
        join(ROOT, "test/conformance/run.mjs"),
        ...["--admin", admin, "--gateway", gateway, "--key", ADMIN_KEY, "--viewer-key", VIEWER_KEY],
        ...["--upstream-base", String(base), "--vault-port", String(base + 4), "--area", area],
      ]);
      const code = await runner.exited;
      expect(code, runner.output()).toBe(0);
      expect(runner.output()).toMatch(/^[1-9]\d* passed, 0 failed$/m);
    });
  });
}
