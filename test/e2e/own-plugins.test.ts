/**
 * Own plugins that do wrong, in every phase and later, on both lanes: their request gets 500, everybody else is served,
 * and the process stays the one it was.
 */
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { admin, type Node, startNode, temporaryFolder, until } from "../support/process.ts";
import { metricsOf, sampleOf } from "../support/scrape.ts";

/** What each row of the table does; `plugin` makes a phase of it. Plain JavaScript, as somebody else would write it. */
const MODULE = `
import { EventEmitter } from "node:events";
const later = (fail) => new Promise((_, reject) => setImmediate(() => { try { fail(); } catch (e) { reject(e); } }));
const boom = () => { throw new Error("boom with details"); };
const thenable = (value) => ({ then: (ok) => setImmediate(ok, value) });
const doings = {
  "throws": boom,
  "throws nothing": () => { throw undefined; },
  "throws null later": () => later(() => { throw null; }),
  "rejects": async () => boom(),
  "rejects later": () => later(boom),
  "a thenable that rejects": () => ({ then: (_, no) => setImmediate(no, new Error("boom with details")) }),
  "a thenable that answers": () => thenable({ status: 418, headers: [], body: "tea", reason: "tea" }),
  "null": () => null,
  "true": () => true,
  "a text": () => "text",
  "an empty object": () => ({}),
  "null later": async () => null,
  "no headers": () => ({ status: 200 }),
  "headers that are no list": () => ({ status: 200, headers: { a: "b" }, body: "x", reason: "r" }),
  "a header that is no text": () => ({ status: 200, headers: ["X-A", { toString: boom }], body: "x", reason: "r" }),
  "half a header": () => ({ status: 200, headers: ["X-A"], body: "x", reason: "r" }),
  "a status that is no number": () => ({ status: "200", headers: [], body: "x", reason: "r" }),
  "a status of 99": () => ({ status: 99, headers: [], body: "x", reason: "r" }),
  "a status of 1000": () => ({ status: 1000, headers: [], body: "x", reason: "r" }),
  "a body that is an object": () => ({ status: 200, headers: [], body: { a: 1 }, reason: "r" }),
  "a body that is a promise": async () => ({ status: 200, headers: [], body: Promise.resolve("x"), reason: "r" }),
  "a filter that throws": (view, response) => response.filterBody({ limitBytes: 1000, apply: boom }),
  "a filter that waits": (view, response) => response.filterBody({ limitBytes: 1000, apply: async (b) => b }),
  "a filter that gives nothing": (view, response) => response.filterBody({ limitBytes: 1000, apply: () => {} }),
  "a filter that is none": (view, response) => response.filterBody(boom),
  "a body of nothing": (view, response) => response.replaceBody(undefined),
  "a status of nothing": (view, response) => { response.status = undefined; },
  "a header that throws": (view, response) => { response.headers.append("X-A", { toString: boom }); },
  "a timer": () => void setTimeout(boom, 1),
  "a tick": () => void process.nextTick(boom),
  "a promise nobody holds": () => void later(boom),
  "a promise of nothing": () => void Promise.reject(),
  "an event nobody hears": () => void setImmediate(() => new EventEmitter().emit("error", new Error("boom with details"))),
  "a method that is none": (view) => { view.method = "BAD METHOD"; },
  "a path of nothing": (view) => { view.upstreamPath = null; },
  "a host of two lines": (view) => { view.upstreamHost = "a\\r\\nX-Evil: 1"; },
  "a request header of nothing": (view) => { view.headers.append(5, {}); },
  "a request header that throws": (view) => { view.headers.append("X-A", { toString: boom }); },
  "a body of a number": (view) => { view.body.replace(5); },
};
const make = (name, rest) => ({ name, version: 1, priority: 10, schema: { type: "object" }, ...rest });
export const nasty = make("nasty", {
  compile: ({ phase, does }) => ({ [phase]: doings[does] }),
});
export const badly = make("badly-compiled", {
  check: ({ does }) => { if (does === "check throws") boom(); },
  compile: ({ does }) => ({
    "compile throws": boom,
    "compile throws nothing": () => { throw undefined; },
    "compile waits": async () => ({ access: () => ({ status: 403, headers: [], body: "no", reason: "r" }) }),
    "compile gives nothing": () => undefined,
    "a phase is no function": () => ({ access: { status: 403 } }),
    "compile leaves a timer": () => (setTimeout(boom, 1), {}),
    "compile leaves a promise": () => (void later(boom), {}),
    "close throws": () => ({ close: boom }),
    "close rejects": () => ({ close: async () => boom() }),
  })[does](),
});
`;

interface Row {
  readonly phase: "rewrite" | "access" | "beforeProxy" | "headerFilter" | "log";
  readonly does: string;
  readonly status: number;
}

const ANSWERING = ["rewrite", "access"] as const;
const ANSWERS = [
  ...["throws", "throws nothing", "throws null later", "rejects", "rejects later", "a thenable that rejects"],
  ...["null", "true", "a text", "an empty object", "null later", "no headers", "headers that are no list"],
  ...["a header that is no text", "half a header", "a status that is no number", "a status of 99"],
  ...["a status of 1000", "a body that is an object", "a body that is a promise", "a path of nothing"],
  ...["a method that is none", "a host of two lines", "a request header of nothing", "a request header that throws"],
];
const LATER = ["a timer", "a tick", "a promise nobody holds", "a promise of nothing", "an event nobody hears"];

const ROWS: readonly Row[] = [
  ...ANSWERING.flatMap((phase) => rowsOf(phase, ANSWERS)),
  ...ANSWERING.map((phase) => ({ phase, does: "a thenable that answers", status: 418 })),
  ...rowsOf("beforeProxy", [
    ...["throws", "throws nothing", "rejects", "rejects later", "a path of nothing", "a method that is none"],
    ...["a request header of nothing", "a body of a number"],
  ]),
  ...rowsOf("headerFilter", [
    ...["throws", "throws nothing", "rejects", "rejects later", "a header that throws", "a filter that throws"],
    ...["a filter that waits", "a filter that gives nothing", "a filter that is none", "a body of nothing"],
    ...["a status of nothing"],
  ]),
  ...rowsOf("log", ["throws", "throws nothing", "rejects", "rejects later"], 200),
  ...(["rewrite", "access", "beforeProxy", "headerFilter", "log"] as const).flatMap((phase) =>
    rowsOf(phase, LATER, 200),
  ),
];

function rowsOf(phase: Row["phase"], all: readonly string[], status = 500): Row[] {
  return all.map((does) => ({ phase, does, status }));
}

const COMPILES = [
  { does: "compile throws", status: 500 },
  { does: "compile throws nothing", status: 500 },
  { does: "compile waits", status: 500 },
  { does: "compile gives nothing", status: 500 },
  { does: "a phase is no function", status: 500 },
  { does: "compile leaves a timer", status: 200 },
  { does: "compile leaves a promise", status: 200 },
  { does: "close throws", status: 200 },
  { does: "close rejects", status: 200 },
];

let upstream: Server;
let upstreamPort = 0;
let nodes: Node[] = [];

beforeAll(async () => {
  upstream = createServer((_, response) => response.end("hello"));
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
  const address = upstream.address();
  upstreamPort = address !== null && typeof address === "object" ? address.port : 0;
  const path = join(temporaryFolder("own-plugins"), "nasty.mjs");
  writeFileSync(path, MODULE);
  nodes = await Promise.all(
    ["on", "off"].map((lane) =>
      startNode("start", { args: ["--plugins", path, "--fast-lane", lane, "--access-log-format", "json"] }),
    ),
  );
  for (const node of nodes) await put(node, "fine", {});
});

afterAll(async () => {
  for (const node of nodes) await node.stop("SIGKILL");
  upstream.close();
});

describe.each([
  { lane: "fast lane", at: 0 },
  { lane: "general lane", at: 1 },
])("$lane", ({ at }) => {
  test.each(ROWS)("$phase, $does: $status", async ({ phase, does, status }) => {
    const node = nodes[at] as Node;
    await put(node, "nasty", { nasty: { phase, does } });
    expect(await ask(node, "nasty")).toEqual([status, false]);
    expect(await ask(node, "fine")).toEqual([200, false]);
  });

  test.each([
    { phase: "headerFilter", does: "throws" } as const,
    { phase: "headerFilter", does: "a filter that throws" },
  ])("$phase, $does: 500 instead of what another plugin answered", async (nasty) => {
    const node = nodes[at] as Node;
    await put(node, "answered", { nasty, mocking: { response_example: "secret" } });
    const answer = await fetch(`${node.gateway}/answered`);
    expect([answer.status, await answer.text()]).toEqual([500, expect.not.stringContaining("secret")]);
  });

  test.each(COMPILES)("$does: $status, and changes go on", async ({ does, status }) => {
    const node = nodes[at] as Node;
    await put(node, "badly", { "badly-compiled": { does } });
    expect(await ask(node, "badly")).toEqual([status, false]);
    await put(node, "badly", {});
    expect(await ask(node, "badly")).toEqual([200, false]);
  });

  test("check throws: the write is refused with its text", async () => {
    const record = { uri: "/c", plugins: { "badly-compiled": { does: "check throws" } }, upstream: { nodes: {} } };
    const { status, body } = await admin(nodes[at] as Node, "PUT", "/routes/c", record);
    expect([status, JSON.stringify(body)]).toEqual([400, expect.stringContaining("boom with details")]);
  });

  test("what was thrown outside of requests is counted, logged, and the process is the one it was", async () => {
    const node = nodes[at] as Node;
    const late = ROWS.filter(({ does }) => LATER.includes(does)).length + 2;
    await until(
      "all of it came",
      async () => (sampleOf(await metricsOf(node), "jotgate_plugin_late_errors_total") ?? 0) >= late,
    );
    expect(node.child.exitCode).toBeNull();
    expect(node.output()).toContain("a plugin failed outside of any request");
  });
});

async function put(node: Node, name: string, plugins: unknown): Promise<void> {
  const record = { uri: `/${name}`, plugins, upstream: { nodes: { [`127.0.0.1:${upstreamPort}`]: 1 } } };
  const { status, body } = await admin(node, "PUT", `/routes/${name}?wait=all`, record);
  if (status >= 300) throw new Error(JSON.stringify(body));
}

/** @returns the status, and whether the client is told what was thrown */
async function ask(node: Node, name: string): Promise<readonly [number, boolean]> {
  const answer = await fetch(`${node.gateway}/${name}`, { signal: AbortSignal.timeout(5_000) });
  return [answer.status, (await answer.text()).includes("boom")];
}
