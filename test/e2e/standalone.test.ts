/**
 * `jotgate start --file`: real processes that serve from a file alone, in one process and in workers.
 */
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { freePort } from "../support/ports.ts";
import { type Node, type NodeOptions, run, startNode, temporaryFolder, until } from "../support/process.ts";

const upstream = createServer((request, response) => response.end(request.url));
let port = 0;
beforeAll(async () => {
  await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
  port = (upstream.address() as { port: number }).port;
});
afterAll(() => void upstream.close());

const config = (path: string, more = ""): string => `routes:
  - id: 1
    uri: ${path}
    upstream_id: backend
${more}upstreams:
  - id: backend
    type: roundrobin
    nodes: {"127.0.0.1:\${BACKEND}": 1}
#END
`;

async function serve(path: string, options: NodeOptions = {}): Promise<Node> {
  const node = await startNode("start", {
    ...options,
    args: ["--file", path, ...(options.args ?? [])],
    env: { BACKEND: String(port), ...options.env },
  });
  onTestFinished(async () => void (await node.stop("SIGKILL")));
  return node;
}

const statusOf = async (node: Node, path: string): Promise<number> => (await fetch(node.gateway + path)).status;
const ready = async (node: Node) => {
  const answer = await fetch(`${node.status}/ready`);
  return { ...((await answer.json()) as { problem?: string; error?: string }), status: answer.status };
};

test("workers follow a ConfigMap's swap, keep the last good file while it is wrong, and say line and member", async () => {
  const mount = temporaryFolder("configmap");
  let versions = 0;
  /** As the kubelet does it: a new folder, and one rename of the link to it. */
  const publish = (text: string): void => {
    const version = `..v${++versions}`;
    mkdirSync(join(mount, version));
    writeFileSync(join(mount, version, "gateway.yaml"), text);
    symlinkSync(version, join(mount, "..tmp"));
    renameSync(join(mount, "..tmp"), join(mount, "..data"));
  };
  publish(config("/one"));
  symlinkSync("..data/gateway.yaml", join(mount, "gateway.yaml"));
  const node = await serve(join(mount, "gateway.yaml"), { args: ["--workers", "2"] });
  expect(await statusOf(node, "/one")).toBe(200);
  expect((await fetch(`${node.status}/status`)).ok).toBe(true);

  publish(config("/two"));
  await until("the new file serves", async () => (await statusOf(node, "/two")) === 200);
  await until("the old route is gone everywhere", async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => statusOf(node, "/one")));
    return all.every((status) => status === 404);
  });

  publish(config("/three", "    plugins: {limit-count: {count: 0, time_window: 60}}\n"));
  const said = await until("the problem", async () => (await ready(node)).problem);
  expect(said).toContain("gateway.yaml line 5: routes[0].plugins.limit-count");
  expect(await ready(node)).toMatchObject({ status: 200 });
  expect([await statusOf(node, "/two"), await statusOf(node, "/three")]).toEqual([200, 404]);
  expect(await (await fetch(`${node.status}/metrics`)).text()).toContain("jotgate_config_file_ok 0");
  await until("it is logged", () => node.output().includes("line 5: routes[0].plugins.limit-count"));

  publish(config("/three"));
  await until("the mended file serves", async () => (await statusOf(node, "/three")) === 200);
  await until("nothing is wrong any more", async () => (await ready(node)).problem === undefined);
  expect(await (await fetch(`${node.status}/metrics`)).text()).toContain("jotgate_config_file_ok 1");
});

test("an editor's rename is followed; a restart with a wrong file serves what served last; empty lists serve nothing", async () => {
  const dataDir = temporaryFolder("standalone");
  const file = join(temporaryFolder("edited"), "gateway.yaml");
  const edit = (text: string): void => {
    writeFileSync(`${file}~`, text);
    renameSync(`${file}~`, file);
  };
  edit(config("/one"));
  const ports = { gateway: await freePort() }; // by which an instance knows its folder
  const first = await serve(file, { dataDir, ports });
  expect(await statusOf(first, "/one")).toBe(200);
  edit(config("/two"));
  await until("the new file serves", async () => (await statusOf(first, "/two")) === 200);
  expect(await first.stop()).toBe(0);

  edit("routes: [");
  const second = await serve(file, { dataDir, ports });
  expect(await statusOf(second, "/two")).toBe(200);
  await until("the problem", async () =>
    (await ready(second)).problem?.includes("gateway.yaml line 1: not valid YAML"),
  );
  edit("routes: []");
  await until("nothing is served", async () => (await statusOf(second, "/two")) === 404);
});

test("without a folder to write to: not ready and saying why until the file is there", async () => {
  const folder = temporaryFolder("readonly");
  writeFileSync(join(folder, "plain"), "");
  const file = join(folder, "gateway.yaml");
  const node = await serve(file, { nowait: true, dataDir: join(folder, "plain", "data") });
  await until("not ready", async () => (await ready(node)).error?.includes("it cannot be read: ENOENT"));
  writeFileSync(file, config("/one"));
  await until("it serves", async () => (await statusOf(node, "/one")) === 200);
  expect((await ready(node)).status).toBe(200);
});

test("a file and etcd exclude each other, and only start takes a file", async () => {
  for (const [args, wanted] of [
    [
      ["start", "--file", "a.yaml", "--etcd", "http://127.0.0.1:1"],
      "file and etcd.hosts: the configuration comes from one",
    ],
    [["gateway", "--file", "a.yaml"], "only jotgate start --file serves from one"],
  ] as const) {
    const child = run(process.execPath, ["bin/jotgate.mjs", ...args]);
    expect(await child.exited).toBe(2);
    expect(child.output()).toContain(wanted);
  }
});
