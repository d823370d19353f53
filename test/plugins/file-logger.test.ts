/** file-logger and bodies of responses: what is written, where, what of a file that is no log, and bodies on every lane. */
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EnvInput, makeEnv, metricValue, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { fileLogger } from "../../src/plugins/file-logger.ts";
import { gzip } from "../../src/plugins/gzip.ts";
import { EVERY_LANE, openEveryLane, openNodeUpstream } from "../gateway/any-lane.ts";
import { upstreamOf, waitFor } from "../gateway/support.ts";

const folder = mkdtempSync(join(tmpdir(), "jotgate-file-logger-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const newPath = (): string => join(folder, `${++files}.log`);
const linesOf = (path: string): Record<string, unknown>[] =>
  existsSync(path)
    ? readFileSync(path, "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line))
    : [];
const count = (env: TestEnv, result: string): Promise<number | undefined> =>
  metricValue(env, "jotgate_file_logger_lines_total", { result });

function open(conf: object, input: EnvInput = {}) {
  const env = makeEnv({ plugins: [fileLogger], ...input });
  const phases = env.compile(fileLogger, conf);
  const log = (target = "/a"): void => {
    const view = makeView({ target });
    view.response = makeResponse();
    phases.log?.(view);
  };
  return { env, log, phases };
}

test("each request is a line, of a format of its own, of the metadata, or full", async () => {
  const [own, meta, full] = [newPath(), newPath(), newPath()];
  const metadata = { "file-logger": { path: meta, log_format: { host: "$host", fixed: 1 } } };
  const formatted = open({ path: own, log_format: { at: { uri: "$request_uri" } } }, { metadata });
  formatted.log("/one");
  open({}, { metadata }).log();
  open({ path: full }).log("/full?x=1");
  await waitFor(() => linesOf(own).length + linesOf(meta).length + linesOf(full).length === 3);
  expect(linesOf(own)).toEqual([{ at: { uri: "/one" }, route_id: "r1" }]);
  expect(linesOf(meta)).toEqual([{ host: "gateway.test", fixed: 1, route_id: "r1" }]);
  expect(linesOf(full)[0]).toMatchObject({ request: { method: "GET", uri: "/full?x=1" }, response: { status: 200 } });
});

test("match: one of its expressions is enough", async () => {
  const path = newPath();
  const { log } = open({ path, log_format: { a: "$arg_a" }, match: [[["arg_a", "==", "1"]], [["arg_a", "==", "2"]]] });
  for (const a of [1, 3, 2]) log(`/?a=${a}`);
  await waitFor(() => linesOf(path).length === 2);
  expect(linesOf(path).map(({ a }) => a)).toEqual(["1", "2"]);
});

test.each([
  { conf: { path: "/root/.bashrc" }, error: /a log's name ends in/ },
  { conf: { path: "package.json" }, error: /a log's name ends in/ },
  { conf: { path: ".log" }, error: /a log's name ends in/ },
  { conf: { path: "a.log", match: [[["a", "<>", "b"]]] }, error: /failed to validate the 'match' expression/ },
  { conf: { path: 1 }, error: /property "path" validation failed: wrong type: expected string, got number/ },
])("$conf is refused", ({ conf, error }) => {
  expect(() => open(conf)).toThrow(error);
});

test("a file that is no log is left alone, through a link too; a log is appended to", async () => {
  const script = join(folder, "start.sh.txt");
  const link = newPath();
  const log = newPath();
  writeFileSync(script, "echo hello\n");
  symlinkSync(script, link);
  writeFileSync(log, '{"old":1}\n');
  const { env, log: write } = open({ path: link });
  write();
  open({ path: script }, {}).log();
  open({ path: log, log_format: {} }).log();
  await waitFor(async () => (await count(env, "failed")) === 1 && linesOf(log).length === 2);
  expect(readFileSync(script, "utf8")).toBe("echo hello\n");
  expect(env.logged.map(({ fields }) => fields["error"])).toContain("the file holds something else than log lines");
});

test("what is set nowhere, or cannot be opened, costs lines and nothing else; a folder that comes is used", async () => {
  const missing = open({});
  missing.log();
  expect(await count(missing.env, "failed")).toBe(1);
  const path = join(folder, "later", "a.log");
  const { env, log } = open({ path });
  log();
  await waitFor(async () => (await count(env, "failed")) === 1);
  const { mkdirSync } = await import("node:fs");
  mkdirSync(join(folder, "later"));
  env.clock.advance(1_000);
  log();
  await waitFor(() => linesOf(path).length === 1);
});

test("a file that was moved away is made anew for the next line; two configurations share one file", async () => {
  const path = newPath();
  const env = makeEnv({ plugins: [fileLogger] });
  const [one, two] = [env.compile(fileLogger, { path }), env.compile(fileLogger, { path, log_format: { b: "2" } })];
  const view = makeView();
  one.log?.(view);
  two.log?.(view);
  await waitFor(() => linesOf(path).length === 2);
  renameSync(path, `${path}.1`);
  env.clock.advance(200);
  two.log?.(view);
  await waitFor(() => linesOf(path).length === 1);
  expect(env.heldStates).toBe(1);
  one.close?.();
  two.close?.();
  expect(env.heldStates).toBe(0);
});

test("a device behind a link is not written to: lines are counted, and nobody is held up", async () => {
  const env = makeEnv({ plugins: [fileLogger] });
  const path = newPath();
  symlinkSync("/dev/full", path);
  const phases = env.compile(fileLogger, { path });
  for (let at = 0; at < 10; at++) phases.log?.(makeView());
  await waitFor(async () => (await count(env, "failed")) === 10);
});

describe.each(EVERY_LANE)("$lane", (lane) => {
  const lanes = openEveryLane(lane);
  let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
  beforeAll(async () => {
    upstream = await openNodeUpstream((request, response) => {
      response.writeHead(200, { "Content-Type": "text/plain" }).write("hello ");
      request.resume().on("end", () => response.end("world"));
    });
  });
  afterAll(() => upstream.close());

  test("the body of the response, cut, where the expression holds, plain though the client gets it compressed", async () => {
    const path = newPath();
    const env = makeEnv({ plugins: [fileLogger, gzip] });
    const conf = {
      path,
      include_resp_body: true,
      max_resp_body_bytes: 8,
      include_resp_body_expr: [["arg_a", "==", "1"]],
    };
    const logger = env.compile(fileLogger, conf);
    const plugins = [env.compile(gzip, { types: "*" }), logger];
    const client = await lanes.open({ x: { upstream: upstreamOf([upstream.port]), plugins } });
    const got = await client.ask({ path: "/x?a=1", headers: { "Accept-Encoding": "gzip" } });
    expect(gunzipSync(got.body).toString()).toBe("hello world");
    await client.ask({ path: "/x?a=2" });
    await waitFor(() => linesOf(path).length === 2);
    const bodies = linesOf(path).map((line) => (line["response"] as { body?: string }).body);
    expect(bodies).toEqual(["hello wo", undefined]);
  });
});
