import { EventEmitter } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { silentLog } from "../../src/base/log.ts";
import { type RunningNode, runNode, type Signals } from "../../src/cli/run-node.ts";
import { readSettings, type Settings } from "../../src/settings/settings.ts";
import { until } from "../support/until.ts";

const dataDir = mkdtempSync(join(tmpdir(), "jotgate-run-"));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));
const settings = readSettings({ argv: ["--data-dir", dataDir], env: {}, readFile: () => "" });
const pidFile = join(dataDir, "node-9080", "pid");

/** A node and the signals it gets, moved by hand. */
function world(echoMs = 0) {
  const emitter = new EventEmitter();
  const exits: number[] = [];
  const signals: Signals = {
    on: (signal, listener) => emitter.on(signal, listener),
    off: (signal, listener) => emitter.off(signal, listener),
    exit: (code) => exits.push(code),
  };
  const calls: string[] = [];
  const lines: string[] = [];
  const line = (_fields: unknown, message: string): void => void lines.push(message);
  let end: (code: number) => void = () => {};
  const node: RunningNode = {
    log: { ...silentLog, info: line, warn: line, error: line },
    async stop(reason) {
      calls.push(`stop ${reason}`);
    },
    async reload() {
      calls.push("reload");
      return { hasNewTls: false, workers: 0 };
    },
    done: new Promise((resolve) => {
      end = resolve;
    }),
  };
  const complaints: string[] = [];
  const readAgain = (): Settings => settings;
  const options = {
    signals,
    echoMs,
    readAgain,
    print: () => {},
    complain: (text: string) => void complaints.push(text),
  };
  const send = (signal: string): void => void emitter.emit(signal, signal);
  return { node, calls, lines, exits, complaints, options, send, end: (code: number) => end(code), emitter };
}

test.each(["SIGTERM", "SIGINT", "SIGQUIT"])(
  "%s stops the node, and the exit code is the node's own",
  async (signal) => {
    const { node, calls, exits, options, send, end, emitter } = world();
    const code = runNode("all", settings, { ...options, start: async () => node });
    await Promise.resolve();
    await Promise.resolve();
    expect(readFileSync(pidFile, "utf8")).toBe(`${process.pid}\n`);
    send(signal);
    expect(calls).toEqual([`stop ${signal}`]);
    end(7);
    expect(await code).toBe(7);
    expect(exits).toEqual([]);
    expect(existsSync(pidFile)).toBe(false);
    expect(emitter.eventNames().flatMap((name) => emitter.listeners(name))).toEqual([]);
  },
);

test("a second signal ends the process at once", async () => {
  const { node, calls, exits, options, send, end } = world();
  const code = runNode("all", settings, { ...options, start: async () => node });
  await Promise.resolve();
  await Promise.resolve();
  send("SIGTERM");
  send("SIGTERM");
  expect(calls).toEqual(["stop SIGTERM"]);
  expect(exits).toEqual([143]);
  end(0);
  await code;
});

test("the same Ctrl-C delivered twice counts once", async () => {
  const { node, exits, options, send, end } = world(60_000);
  const code = runNode("all", settings, { ...options, start: async () => node });
  send("SIGINT");
  send("SIGINT");
  end(0);
  await code;
  expect(exits).toEqual([]);
});

test("a signal that comes while the node starts stops it as soon as it runs", async () => {
  const { node, calls, options, send, end } = world();
  let started: (node: RunningNode) => void = () => {};
  const starting = new Promise<RunningNode>((resolve) => {
    started = resolve;
  });
  const code = runNode("all", settings, { ...options, start: () => starting });
  send("SIGTERM");
  expect(calls).toEqual([]);
  started(node);
  end(0);
  await code;
  expect(calls).toEqual(["stop SIGTERM"]);
});

test("SIGHUP hands the node what it can take, and one that comes meanwhile is followed by another reload", async () => {
  const { node, calls, lines, options, send, end } = world();
  const given: Settings[] = [];
  const read = [
    readSettings({
      argv: ["--data-dir", dataDir, "--log-level", "debug", "--drain-time", "1s"],
      env: {},
      readFile: () => "",
    }),
    readSettings({ argv: ["--data-dir", dataDir, "--log-level", "warn"], env: {}, readFile: () => "" }),
  ];
  let go: () => void = () => {};
  const code = runNode("all", settings, {
    ...options,
    readAgain: () => read.shift() ?? settings,
    start: async () => ({
      ...node,
      async reload(next) {
        given.push(next);
        if (given.length === 1)
          await new Promise<void>((resolve) => {
            go = resolve;
          });
        return { hasNewTls: false, workers: 0 };
      },
    }),
  });
  await Promise.resolve();
  await Promise.resolve();
  for (let i = 0; i < 3; i++) send("SIGHUP");
  await until(() => given.length === 1, "the first reload");
  expect(given[0]?.log.level).toBe("debug");
  expect(given[0]?.drainTimeMs).toBe(settings.drainTimeMs);
  go();
  await until(() => lines.filter((line) => line === "reloaded").length === 2, "the second reload");
  expect(given.map(({ log }) => log.level)).toEqual(["debug", "warn"]);
  expect(calls).toEqual([]);
  const report = JSON.parse(readFileSync(join(dataDir, "node-9080", "reload.json"), "utf8"));
  expect(report).toMatchObject({ begun: 2, ended: 2, taken: ["log.level"], restart: [] });
  end(0);
  await code;
});

test.each([
  {
    says: "a taken port",
    error: { code: "EADDRINUSE", address: "127.0.0.1", port: 9180 },
    want: "cannot listen on 127.0.0.1:9180",
  },
  {
    says: "a forbidden port",
    error: { code: "EACCES", address: "0.0.0.0", port: 80 },
    want: "this user may not use that port",
  },
  { says: "anything else", error: {}, want: "boom" },
])("a start that fails on $says is explained and ends with 1", async ({ error, want }) => {
  const { options, complaints } = world();
  const start = async (): Promise<RunningNode> => {
    throw Object.assign(new Error("boom"), error);
  };
  expect(await runNode("all", settings, { ...options, start })).toBe(1);
  expect(complaints.join()).toContain(want);
});
