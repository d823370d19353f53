/**
 * `jotgate status` against a real node: what it shows, what it ends with, and what it says of a cluster that is not well.
 */
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ClusterState, judgeCluster, statusCommand } from "../../src/cli/status-command.ts";
import { freePort } from "../support/ports.ts";
import { type Node, ROOT, startNode, VIEWER_KEY } from "../support/process.ts";

let node: Node;
beforeAll(async () => {
  node = await startNode("start");
});
afterAll(async () => void (await node.stop()));

async function status(args: readonly string[], env: Record<string, string> = { JOTGATE_VIEWER_KEY: VIEWER_KEY }) {
  const printed: string[] = [];
  const complained: string[] = [];
  const io = {
    env,
    print: (text: string) => void printed.push(text),
    complain: (text: string) => void complained.push(text),
  };
  const code = await statusCommand(args, io);
  return { code, printed: printed.join("\n"), complained: complained.join("\n") };
}

test("a node that is well: its row, its traffic, exit code 0; as JSON too", async () => {
  const quiet = await status(["--admin", node.admin]);
  expect(quiet.complained).toBe("");
  expect(quiet.printed).toMatch(/revision \d+ {3}1 node {3}[\d.]+ requests\/s \([\d.]+ failed, [\d.]+ refused/);
  expect(quiet.printed).toMatch(
    /^NODE +VERSION +UP +WORKERS +APPLIED +LAG +STALE +PROBLEMS +REQUESTS\/S\nnode-\d+-\S+ +\d/m,
  );
  expect(quiet.printed).toContain("all is well");
  expect(quiet.printed).not.toContain("\u001b");
  expect(quiet.code).toBe(0);

  const json = await status(["--admin", node.admin, "--json"]);
  const { nodes, findings } = JSON.parse(json.printed) as ClusterState & { findings: readonly object[] };
  expect([json.code, nodes.length, findings]).toEqual([0, 1, []]);
});

test("--watch goes on as long as somebody reads: head takes two lines, and it ends", { timeout: 60_000 }, async () => {
  const watch = `'${process.execPath}' bin/jotgate.mjs status --admin ${node.admin} --watch | head -2; echo ends`;
  const env = { ...process.env, JOTGATE_VIEWER_KEY: VIEWER_KEY };
  const piped = await promisify(execFile)("bash", ["-c", watch], { cwd: ROOT, env });
  expect(piped.stdout).toMatch(/1 node[\s\S]*ends/);
  expect(piped.stdout).not.toContain("\u001b"); // no screen is wiped where there is none
  expect(piped.stderr).toBe("");
});

test.each([
  { says: "no key", args: [], env: {}, want: "neither JOTGATE_ADMIN_KEY nor JOTGATE_VIEWER_KEY is set" },
  { says: "an unknown option", args: ["--wach"], env: undefined, want: "there is no option --wach" },
  { says: "no URL", args: ["--admin", "localhost"], env: undefined, want: "--admin must be a URL such as http://" },
  { says: "an argument", args: ["all"], env: undefined, want: "status takes no argument all" },
])("$says is said, with the usage", async ({ args, env, want }) => {
  const { code, complained } = await status(args, env);
  expect(complained).toContain(want);
  expect(complained).toContain("jotgate status [--admin URL]");
  expect(code).toBe(2);
});

test("an admin that is away, that refuses the key, or that is none: exit code 2, and why", async () => {
  const away = await status(["--admin", `http://127.0.0.1:${await freePort()}`]);
  expect([away.code, away.complained]).toEqual([2, expect.stringContaining("does not answer")]);
  const wrong = await status(["--admin", node.admin], { JOTGATE_ADMIN_KEY: "a-wrong-key-0123456789" });
  expect([wrong.code, wrong.complained]).toEqual([2, expect.stringContaining("401")]);
  expect(wrong.complained).not.toContain("a-wrong-key");
  const other = createServer((_request, response) => void response.end("hello")).listen(0, "127.0.0.1");
  await new Promise((resolve) => other.once("listening", resolve));
  const none = await status(["--admin", `http://127.0.0.1:${(other.address() as { port: number }).port}`]);
  expect([none.code, none.complained]).toEqual([2, expect.stringContaining("without JSON")]);
  other.close();
});

const NOW = 1_000_000_000;
const row = {
  ...{
    id: "gateway-1",
    version: "1",
    started: NOW - 60,
    applied: 7,
    lag: 0,
    staleness_seconds: 0,
    problems: 0,
    hash: "a",
  },
};
const well: ClusterState = {
  ...{ revision: 7, nodes: [row, { ...row, id: "gateway-2" }], problems: [], keys: [] },
  overview: { points: [], nodes: {}, unhealthy: [], expiring: [], silent: [] },
};
const seen = (overview: Partial<ClusterState["overview"]>): ClusterState => ({
  ...well,
  overview: { ...well.overview, ...overview },
});
const other = (change: Partial<typeof row>): ClusterState => ({
  ...well,
  nodes: [row, { ...row, id: "gateway-2", ...change }],
});
const certificate = { key: "/apisix/ssls/1", names: ["a.example"] };

test.each([
  { says: "nothing", state: well, want: [] },
  { says: "no node", state: { ...well, nodes: [] }, want: ["wrong"] },
  { says: "a silent node", state: seen({ silent: ["gateway-2"] }), want: ["wrong"] },
  { says: "a node that is cut off", state: other({ staleness_seconds: 90, lag: 3 }), want: ["wrong"] },
  { says: "a node that lags", state: other({ lag: 3, applied: 4, hash: "b" }), want: ["look"] },
  { says: "another configuration at the same revision", state: other({ hash: "b" }), want: ["wrong"] },
  { says: "another version", state: other({ version: "2" }), want: ["look"] },
  {
    says: "a certificate that is over",
    state: seen({ expiring: [{ ...certificate, ends: NOW - 1 }] }),
    want: ["wrong"],
  },
  { says: "one that ends soon", state: seen({ expiring: [{ ...certificate, ends: NOW + 86_400 }] }), want: ["look"] },
  {
    says: "an unhealthy target",
    state: seen({
      unhealthy: [{ record: "/apisix/upstreams/1", target: "10.0.0.1:80", status: "unhealthy", nodes: ["gateway-1"] }],
    }),
    want: ["look"],
  },
  {
    says: "a record that blocks, and one that does not",
    state: {
      ...well,
      problems: [false, true].map((blocks) => ({ key: "/apisix/routes/1", reason: "x", blocks, nodes: ["gateway-1"] })),
    },
    want: ["wrong", "look"],
  },
  {
    says: "a signing key that is over, and one that ends soon",
    state: { ...well, keys: [NOW + 1, NOW - 1].map((ends) => ({ server: "main", algorithm: "ES256", ends })) },
    want: ["wrong", "look"],
  },
])("$says: $want", ({ state, want }) => {
  expect(judgeCluster(state, NOW).map(({ level }) => level)).toEqual(want);
});
