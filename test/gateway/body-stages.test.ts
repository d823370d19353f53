/** Transforms, filters and observers of response bodies, on every lane: their order, their ends, and what one that fails does. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { BodyOut } from "../../src/plugin/body-stages.ts";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import type { ResponseView } from "../../src/plugin/response-view.ts";
import { EVERY_LANE, type LaneClient, openEveryLane, openNodeUpstream } from "./any-lane.ts";
import { upstreamOf, waitFor } from "./support.ts";

const edit = (headerFilter: (response: ResponseView) => void): PluginPhases => ({
  headerFilter: (_view, response) => headerFilter(response),
});

let seen: string[] = [];
const upper = edit((response) =>
  response.transformBody({
    open: (out) => ({
      write: (piece) => out.write(Buffer.from(piece.toString().toUpperCase())),
      end: () => out.end(),
      close: () => void seen.push("closed"),
    }),
  }),
);
const tail = edit((response) =>
  response.transformBody({
    open: (out) => ({
      write: (piece) => out.write(piece),
      end() {
        out.write(Buffer.from(" tail"));
        out.end();
      },
    }),
  }),
);
const brackets = edit((response) =>
  response.filterBody({ limitBytes: 100, apply: (body) => Buffer.from(`<${body.toString()}>`) }),
);
const onlooker = edit((response) =>
  response.observeBody(() => {
    let text = "";
    return {
      write: (piece) => {
        text += piece.toString();
      },
      end: () => void seen.push(`saw ${text}`),
      close: () => void seen.push("onlooker closed"),
    };
  }),
);
/** Gives each piece back a turn later, and takes one at a time. */
const later = edit((response) =>
  response.transformBody({
    open(out: BodyOut) {
      let busy = false;
      let ended = false;
      return {
        write(piece) {
          busy = true;
          setImmediate(() => {
            busy = false;
            out.write(piece);
            out.ready();
            if (ended) out.end();
          });
          return false;
        },
        end() {
          ended = true;
          if (!busy) out.end();
        },
      };
    },
  }),
);
const failing = (when: "open" | "write" | "end" | "late" | "given"): PluginPhases =>
  edit((response) =>
    response.transformBody({
      open(out) {
        if (when === "open") throw new Error("boom");
        let pieces = 0;
        return {
          write(piece) {
            if (when === "write" && ++pieces > 1) throw new Error("boom");
            if (when === "given") setImmediate(() => out.fail(new Error("boom")));
            return when === "given" || out.write(piece);
          },
          end() {
            if (when === "end") throw new Error("boom");
            if (when === "late") setImmediate(() => out.fail(new Error("boom")));
            else if (when !== "given") out.end();
          },
          close: () => void seen.push("closed"),
        };
      },
    }),
  );

let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
beforeAll(async () => {
  upstream = await openNodeUpstream((request, response) => {
    response.writeHead(200, {
      "Content-Type": "text/plain",
      ETag: '"a"',
      ...(request.url?.endsWith("long") ? { "Content-Length": 10 } : {}),
    });
    if (request.method === "HEAD") return response.end();
    response.write("hello");
    // A read of its own.
    return setTimeout(() => response.end("world"), 20);
  });
});
afterAll(() => upstream.close());
beforeEach(() => {
  seen = [];
});

describe.each(EVERY_LANE)("$lane", (lane) => {
  const lanes = openEveryLane(lane);
  let client: LaneClient;
  beforeAll(async () => {
    const to = upstreamOf([upstream.port]);
    client = await lanes.open({
      upper: { upstream: to, plugins: [upper] },
      order: { upstream: to, plugins: [tail, upper, brackets, onlooker] },
      seen: { upstream: to, plugins: [onlooker] },
      later: { upstream: to, plugins: [later, later] },
      own: { plugins: [upper, { access: () => ({ status: 403, headers: [], body: "own text", reason: "r" }) }] },
      replaced: { upstream: to, plugins: [brackets, edit((response) => response.replaceBody("new")), upper, onlooker] },
      ...Object.fromEntries(
        (["open", "write", "end", "late", "given"] as const).map((when) => [
          when,
          { upstream: to, plugins: [failing(when)] },
        ]),
      ),
      ownfails: {
        plugins: [failing("open"), { access: () => ({ status: 403, headers: [], body: "own", reason: "r" }) }],
      },
    });
  });

  test.each([
    { path: "/upper/x", body: "HELLOWORLD" },
    { path: "/upper/long", body: "HELLOWORLD" },
    { path: "/later/x", body: "helloworld" },
    { path: "/own/x", body: "OWN TEXT", status: 403 },
    { path: "/replaced/x", body: "NEW", sees: ["saw NEW", "onlooker closed"] },
    { path: "/order/x", body: "<HELLOWORLD TAIL>", sees: ["saw <HELLOWORLD TAIL>", "onlooker closed"] },
  ])("$path: $body, without the length and tag of what the upstream sent", async ({ body, path, sees, status }) => {
    const got = await client.ask({ path });
    expect([got.status, got.body.toString(), got.complete]).toEqual([status ?? 200, body, true]);
    expect([got.headers["content-length"], got.headers["etag"]]).toEqual([undefined, undefined]);
    if (sees) expect(seen.filter((word) => word !== "closed")).toEqual(sees);
    if (path.startsWith("/upper")) expect(seen).toEqual(["closed"]);
  });

  test("who looks on changes neither length nor tag", async () => {
    const got = await client.ask({ path: "/seen/long" });
    expect(got.headers).toMatchObject({ "content-length": "10", etag: '"a"' });
    expect(seen).toEqual(["saw helloworld", "onlooker closed"]);
  });

  test("a response without a body opens no stage", async () => {
    expect((await client.ask({ path: "/upper/long", method: "HEAD" })).headers["content-length"]).toBeUndefined();
    expect((await client.ask({ path: "/seen/long", method: "HEAD" })).headers["content-length"]).toBe("10");
    expect(seen).toEqual([]);
  });

  test.each(["open", "ownfails"])("%s: a stage that fails at its opening is a 500", async (path) => {
    const got = await client.ask({ path: `/${path}/x` });
    expect([got.status, got.body.toString().includes("boom"), got.complete]).toEqual([500, false, true]);
  });

  test.each(["write", "end", "late", "given"])("%s: a stage that fails later breaks the response off", async (path) => {
    const got = await client.ask({ path: `/${path}/long` }).catch(() => undefined);
    expect(got?.complete ?? false).toBe(false);
    await waitFor(() => seen.length > 0);
    expect(seen).toEqual(["closed"]);
    expect((await client.ask({ path: "/upper/x" })).body.toString()).toBe("HELLOWORLD");
  });
});
