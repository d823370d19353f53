/**
 * The command line as a child process: what it prints, where, and how it ends.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT, run, temporaryFolder } from "../support/process.ts";

const folder = temporaryFolder("cli");
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };

async function jotgate(args: readonly string[], env: Record<string, string> = {}) {
  const child = run(process.execPath, [join(ROOT, "bin/jotgate.mjs"), ...args], { cwd: folder, env });
  return { code: await child.exited, output: child.output() };
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test.each([["version"], ["--version"], ["-v"]])("jotgate %s prints versions", async (argument) => {
  const { code, output } = await jotgate([argument]);
  expect(code).toBe(0);
  expect(output).toContain(`jotgate ${version}\nnode ${process.versions.node}`);
});

test.each([[["help"]], [[]], [["--help"]], [["start", "--help"]]])("jotgate %j prints the help", async (args) => {
  const { code, output } = await jotgate(args);
  expect(code).toBe(0);
  for (const command of ["start", "admin", "gateway", "check FILE", "reload", "version"])
    expect(output).toContain(command);
});

test("jotgate help settings lists the settings", async () => {
  const { output } = await jotgate(["help", "settings"]);
  expect(output).toContain("--gateway-listen");
});

test.each([
  { says: "an unknown command", args: ["strat"], want: "unknown command strat; did you mean start?" },
  { says: "a flag without a command", args: ["--prefix", "/a"], want: "a command comes first" },
  { says: "an admin node without etcd", args: ["admin"], want: "jotgate admin needs --etcd" },
  { says: "a gateway node without etcd", args: ["gateway"], want: "jotgate gateway needs --etcd" },
  {
    says: "an unknown flag",
    args: ["start", "--gatway-listen", "127.0.0.1:1"],
    want: "unknown flag --gatway-listen; did you mean --gateway-listen?",
  },
  {
    says: "an unknown variable",
    args: ["start"],
    env: { JOTGATE_FOO: "1" },
    want: "unknown environment variable JOTGATE_FOO",
  },
  {
    says: "a settings file that is not there",
    args: ["start", "--config", "none.yaml"],
    want: "none.yaml cannot be read",
  },
  { says: "jotgate check without a file", args: ["check"], want: "needs the path of a settings file" },
  {
    says: "the famous key on all addresses",
    args: ["start", "--admin-listen", "0.0.0.0:0", "--admin-key", "edd1c9f034335f136f87ad84b625c8f1"],
    want: "everybody knows it",
  },
])("$says ends with 2 and a sentence", async ({ args, env, want }) => {
  const { code, output } = await jotgate(args, env);
  expect(output).toContain(want);
  expect(code).toBe(2);
});

test("jotgate check judges a file by itself, whatever the environment", async () => {
  const good = file("good.yaml", "etcd: http://127.0.0.1:2379\nadmin: { key: abc }\n");
  const { code, output } = await jotgate(["check", good], { JOTGATE_NONSENSE: "1" });
  expect(output).toContain("good.yaml is valid");
  expect(output).toMatch(/jotgate gateway +can run with it/);
  expect(code).toBe(0);
});

test("jotgate check says for which commands a valid file is not enough", async () => {
  const { code, output } = await jotgate(["check", file("single.yaml", "prefix: /gate\n")]);
  expect(output).toMatch(/jotgate start +can run with it/);
  expect(output).toMatch(/jotgate admin +jotgate admin needs --etcd/);
  expect(code).toBe(0);
});

test("jotgate check names every mistake with its line", async () => {
  const { code, output } = await jotgate(["check", file("bad.yaml", "prefx: /a\ngateway:\n  listen: 80\n")]);
  expect(output).toContain("bad.yaml line 1: unknown setting prefx; did you mean prefix?");
  expect(output).toContain("bad.yaml line 3: gateway.listen: expected an address");
  expect(code).toBe(2);
});

test("a file with the id of another process, as old ones have, signals nobody", async () => {
  const script = "process.stdout.write('up'); setInterval(() => {}, 1000)";
  const other = spawn(process.execPath, ["-e", script, "jotgate", "gateway"], { stdio: ["ignore", "pipe", "ignore"] });
  try {
    await once(other.stdout, "data");
    mkdirSync(join(folder, "gateway"), { recursive: true });
    for (const text of [`${other.pid}`, "garbage", "-1", ""]) {
      writeFileSync(join(folder, "gateway", "pid"), text);
      const { code, output } = await jotgate(["reload", "--data-dir", folder]);
      expect([code, output]).toEqual([1, expect.stringContaining("no node is running")]);
    }
    expect([other.exitCode, other.signalCode]).toEqual([null, null]);
  } finally {
    other.kill("SIGKILL");
  }
});

test("jotgate reload without a running node says so", async () => {
  const { code, output } = await jotgate(["reload", "--data-dir", folder]);
  expect(output).toContain("no node is running");
  expect(code).toBe(1);
});
