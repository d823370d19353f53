/** proxy-cache in memory and on disk, on every lane: what is kept for whom and how long, and what nobody can make it keep. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import type { PluginPhases, Siblings } from "../../src/plugin/plugin.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { DiskStore } from "../../src/plugins/proxy-cache/disk-store.ts";
import { proxyCache } from "../../src/plugins/proxy-cache/proxy-cache.ts";
import { responseRewrite } from "../../src/plugins/response-rewrite.ts";
import {
  type Asked,
  EVERY_LANE,
  type Got,
  type LaneClient,
  openEveryLane,
  openNodeUpstream,
} from "../gateway/any-lane.ts";
import { upstreamOf, waitFor } from "../gateway/support.ts";

const folder = mkdtempSync(join(tmpdir(), "jotgate-cache-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
let asked = 0;
/** Added to every answer. */
let extra: Record<string, string> = {};
let status = 200;
beforeAll(async () => {
  upstream = await openNodeUpstream((request, response) => {
    asked++;
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const body = `${request.method} ${request.url} ${asked} ${request.headers["x-who"] ?? ""}${Buffer.concat(pieces).toString()}`;
      response.writeHead(status, {
        "Content-Type": "text/plain",
        "Content-Length": Buffer.byteLength(body),
        ETag: '"e"',
        ...extra,
      });
      if (extra["x-cut"]) response.write(body.slice(0, 5), () => response.destroy());
      else response.end(request.method === "HEAD" ? undefined : body);
    });
  });
});
afterAll(() => upstream.close());
beforeEach(() => {
  asked = 0;
  extra = {};
  status = 200;
});

const ZONES = [
  { name: "disk_cache_one", memoryBytes: 0, disk: { path: join(folder, "one"), bytes: 50_000_000 } },
  { name: "memory_cache", memoryBytes: 50_000_000, disk: undefined },
];
const clock = new FakeClock();
const env = makeEnv({
  clock,
  plugins: [proxyCache, responseRewrite],
  settings: { cache: { ttlMs: 10_000, zones: ZONES } },
});

/** Says who calls, as an authentication plugin would. */
const byHeader: PluginPhases = {
  rewrite(view) {
    const username = view.header("x-consumer");
    if (username !== undefined) view.consumer = { username } as NonNullable<typeof view.consumer>;
    for (const note of ["access_token_payload", "jwt_auth_claims"]) {
      const claims = view.header(`x-${note.replaceAll("_", "-")}`);
      if (claims !== undefined) view.setNote(note, JSON.parse(claims));
    }
    return undefined;
  },
};

describe.each(EVERY_LANE)("$lane", (lane) => {
  describe.each(["memory", "disk"])("%s", (strategy) => {
    const lanes = openEveryLane(lane);
    const base = { cache_strategy: strategy, cache_zone: strategy === "disk" ? "disk_cache_one" : "memory_cache" };
    let client: LaneClient;
    beforeAll(async () => {
      const to = upstreamOf([upstream.port]);
      const route = (conf: object, ...more: PluginPhases[]) => ({
        upstream: to,
        plugins: [byHeader, env.compile(proxyCache, { ...base, ...conf }), ...more],
      });
      client = await lanes.open({
        plain: route({}),
        other: route({ cache_key: ["$uri", "$arg_a", "$arg_b"] }),
        control: route({ cache_control: true }),
        bypass: route({
          cache_bypass: ["$arg_bypass"],
          no_cache: ["$arg_no_cache"],
          cache_key: ["$host", "$uri"],
          cache_method: ["GET"],
        }),
        hidden: route({ hide_cache_headers: true }),
        shared: route({ consumer_isolation: false }),
        cookies: route({ cache_set_cookie: true }),
        named: route({ cache_key: ["$uri", "$remote_user"] }),
        consumer: route({ cache_key: ["$uri", "$consumer_name"] }),
        post: route({ cache_method: ["GET", "POST"] }),
        small: route({ max_resp_body_size: 10 }),
        rewritten: route({}, env.compile(responseRewrite, { headers: { set: { "X-Late": "1" } }, status_code: 201 })),
      });
    });

    let names = 0;
    /** A path that nobody has asked for. */
    const fresh = (route: string): string => `/${route}/${lane.lane}-${strategy}-${++names}`.replaceAll(" ", "");
    const ask = async (
      path: string,
      headers: Asked["headers"] = {},
      more: Asked = {},
    ): Promise<Got & { cache: unknown; text: string }> => {
      const got = await client.ask({ path, headers, ...more });
      // What is kept on disk is kept a moment later.
      if (strategy === "disk") await settled();
      return { ...got, cache: got.headers["apisix-cache-status"], text: got.body.toString() };
    };
    const states = async (path: string, ...headers: NonNullable<Asked["headers"]>[]): Promise<unknown[]> => {
      const all: unknown[] = [];
      for (const one of headers) all.push((await ask(path, one)).cache);
      return all;
    };

    test("the second answer is that of the first, with its age; HEAD has its head, PURGE forgets it", async () => {
      const path = fresh("plain");
      const first = await ask(path);
      clock.advance(3_000);
      const second = await ask(path);
      expect([first.cache, second.cache, second.text, asked]).toEqual(["MISS", "HIT", first.text, 1]);
      expect(second.headers).toMatchObject({ age: "3", etag: '"e"', "content-type": first.headers["content-type"] });
      const head = await ask(path, {}, { method: "HEAD" });
      expect([head.cache, head.headers["content-length"], head.text]).toEqual(["HIT", String(first.text.length), ""]);
      expect((await ask(path, { "If-None-Match": 'W/"e"' })).status).toBe(304);
      expect((await ask(path, {}, { method: "PURGE" })).status).toBe(200);
      expect((await ask(path, {}, { method: "PURGE" })).status).toBe(404);
      expect([(await ask(path)).cache, asked]).toEqual(["MISS", 2]);
    });

    test("what is too old is asked for anew", async () => {
      const path = fresh("plain");
      await ask(path);
      clock.advance(strategy === "disk" ? 10_000 : 300_000);
      expect(await states(path, {}, {})).toEqual(["EXPIRED", "HIT"]);
    });

    test("bypass and no_cache, other methods, other statuses", async () => {
      const path = fresh("bypass");
      expect((await ask(`${path}?no_cache=1`)).cache).toBe("MISS");
      expect((await ask(path)).cache).toBe("MISS");
      expect((await ask(`${path}?bypass=1`)).cache).toBe("BYPASS");
      expect((await ask(`${path}?bypass=0`)).cache).toBe("HIT");
      expect((await ask(path, {}, { method: "HEAD" })).cache).toBe(strategy === "disk" ? "BYPASS" : "MISS");
      status = 500;
      expect(await states(fresh("plain"), {}, {})).toEqual(["MISS", "MISS"]);
    });

    test.each([
      { says: "private", headers: { "cache-control": "private" } },
      { says: "no-store among others", headers: { "cache-control": 'max-age=9, no-store="x"' } },
      { says: "no-cache", headers: { "cache-control": "No-Cache" } },
      { says: "Vary: *", headers: { vary: "Accept, *" } },
      { says: "a cookie", headers: { "set-cookie": "a=b" } },
    ])("$says is not kept, whatever cache_control says", async ({ headers }) => {
      extra = headers as never;
      expect(await states(fresh("plain"), {}, {})).toEqual(["MISS", "MISS"]);
    });

    test("a part of a body and a 304 are never kept, nor is one that broke off or is too long", async () => {
      status = 206;
      extra = { "content-range": "bytes 0-1/9" };
      const all = fresh("plain");
      expect(await states(all, { Range: "bytes=0-1" }, { Range: "bytes=0-1" })).toEqual(["MISS", "MISS"]);
      status = 200;
      expect((await ask(all)).cache).toBe("MISS"); // the range of 200 too
      extra = { "x-cut": "1" };
      const cut = fresh("plain");
      await ask(cut).catch(() => undefined);
      extra = {};
      expect((await ask(cut)).cache).toBe("MISS");
      expect(await states(fresh("small"), {}, {})).toEqual(["MISS", "MISS"]);
    });

    test("cookies where the configuration wants it; headers of caches are hidden where it says so", async () => {
      extra = { "set-cookie": "a=b" };
      expect(await states(fresh("cookies"), {}, {})).toEqual(["MISS", "HIT"]);
      extra = { "cache-control": "max-age=60", expires: "x" };
      const path = fresh("hidden");
      for (const want of ["MISS", "HIT"]) {
        const got = await ask(path);
        expect([got.cache, got.headers["cache-control"], got.headers["expires"]]).toEqual([want, undefined, undefined]);
      }
    });

    test("cache_control: what clients and responses say of age", async () => {
      extra = { "cache-control": "max-age=60, s-maxage=100", age: "40" };
      const path = fresh("control");
      expect((await ask(path, { "Cache-Control": "only-if-cached" })).status).toBe(504);
      expect(await states(path, {}, { "Cache-Control": "no-cache" }, {})).toEqual(["MISS", "BYPASS", "HIT"]);
      clock.advance(5_000);
      const wanted = (text: string) => ({ "Cache-Control": text });
      expect(await states(path, wanted("max-age=5"), wanted("max-age=1"))).toEqual(["HIT", "STALE"]);
      expect(await states(path, wanted("min-fresh=60"), wanted("min-fresh=61"))).toEqual(["HIT", "STALE"]);
      clock.advance(60_000);
      expect((await ask(path)).cache).toBe("EXPIRED");
      extra = { "cache-control": "max-age=0" };
      expect(await states(fresh("control"), {}, {})).toEqual(["MISS", "MISS"]);
    });

    test("Vary: a client gets what was made for one like it, and PURGE forgets all of them", async () => {
      extra = { vary: "X-Who, Accept" };
      const path = fresh("plain");
      const [a, b] = [{ "X-Who": "a" }, { "X-Who": "b" }];
      expect(await states(path, a, b, a, b)).toEqual(["MISS", "MISS", "HIT", "HIT"]);
      expect((await ask(path, b)).text).toMatch(/ b$/);
      expect((await ask(path, {}, { method: "PURGE" })).status).toBe(200);
      expect(await states(path, a, b)).toEqual(["MISS", "MISS"]);
      extra = { vary: "Accept-Language" };
      const changed = fresh("plain");
      await ask(changed, a);
      extra = { vary: "X-Who" };
      await ask(changed, { "Accept-Language": "de" }); // another Vary: what was kept is not found any more
      expect(await states(changed, a, {})).toEqual(["MISS", "HIT"]);
    });

    test("a coding goes to those only that asked for it, though the upstream says nothing", async () => {
      extra = { "content-encoding": "br" };
      const path = fresh("plain");
      const br = { "Accept-Encoding": "br" };
      expect(await states(path, br, {}, br)).toEqual(["MISS", "MISS", "HIT"]);
    });

    test("another host, route, query or split of a key is another response", async () => {
      const path = fresh("plain");
      await ask(path);
      expect((await ask(`${path}?a`)).cache).toBe("MISS");
      if (!lane.http2) expect((await ask(path, { Host: "evil.test" })).cache).toBe("MISS");
      expect((await ask(path)).cache).toBe("HIT");
      const other = fresh("other");
      expect((await ask(`${other}?a=1&b=23`)).cache).toBe("MISS");
      expect((await ask(`${other}?a=12&b=3`)).cache).toBe("MISS");
      // What a path means upstream is what it says, not what it decodes to.
      const sent = fresh("plain");
      expect([(await ask(`${sent}%3Fa=1`)).cache, (await ask(`${sent}?a=1`)).cache]).toEqual(["MISS", "MISS"]);
    });

    test("each consumer has its own; shared ones need what RFC 9111 wants beside Authorization", async () => {
      const path = fresh("plain");
      const [alice, bob] = [{ "X-Consumer": "alice" }, { "X-Consumer": "bob" }];
      expect(await states(path, alice, bob, {}, alice)).toEqual(["MISS", "MISS", "MISS", "HIT"]);
      const secret = { Authorization: "Bearer a" };
      expect(await states(fresh("plain"), secret, secret)).toEqual(["MISS", "MISS"]);
      expect(await states(fresh("plain"), { ...secret, ...alice }, { ...secret, ...alice })).toEqual(["MISS", "HIT"]);
      expect(await states(fresh("shared"), { ...secret, ...alice }, { ...secret, ...bob })).toEqual(["MISS", "MISS"]);
      expect(await states(fresh("shared"), alice, bob)).toEqual(["MISS", "HIT"]);
      // A key that would say who asks, and does not know: as if it did not.
      expect(await states(fresh("named"), secret, { Authorization: "Bearer b" })).toEqual(["MISS", "MISS"]);
      expect(await states(fresh("named"), alice, bob)).toEqual(["MISS", "MISS"]);
      extra = { "cache-control": "public, max-age=9" };
      expect(await states(fresh("plain"), secret, {})).toEqual(["MISS", "HIT"]);
    });

    test.each([
      { says: "an access token", name: "X-Access-Token-Payload" },
      { says: "a consumer's token", name: "X-Jwt-Auth-Claims" },
    ])("users of one client never share by $says, wherever it stands", async ({ name }) => {
      const of = (sub: string, jti: string, iat: number) => ({ [name]: JSON.stringify({ sub, aud: "a", jti, iat }) });
      const [alice, again, bob] = [of("alice", "1", 1), of("alice", "2", 2), of("bob", "3", 1)];
      const all = [alice, bob, again];
      const alone = ["MISS", "MISS", "HIT"];
      for (const more of [{}, { "X-Consumer": "client" }, { Cookie: "t=1" }, { Authorization: "Bearer t" }])
        for (const route of ["plain", "consumer"])
          expect(await states(fresh(route), ...all.map((one) => ({ ...one, ...more })))).toEqual(alone);
      expect(await states(fresh("shared"), ...all)).toEqual(["MISS", "MISS", "MISS"]);
      extra = { "cache-control": "public, max-age=9" };
      expect(await states(fresh("shared"), ...all)).toEqual(["MISS", "HIT", "HIT"]);
    });

    test("a token that names no user is not kept for another", async () => {
      const client = { "X-Access-Token-Payload": '{"active":true,"client_id":"c"}', "X-Consumer": "client" };
      expect(await states(fresh("plain"), client, client)).toEqual(["MISS", "MISS"]);
      const consumer = { "X-Jwt-Auth-Claims": '{"key":"c"}', "X-Consumer": "client" };
      expect(await states(fresh("plain"), consumer, consumer)).toEqual(["MISS", "HIT"]);
    });

    test.each([
      { says: "another method in a header", headers: { "X-HTTP-Method-Override": "DELETE" } },
      { says: "another path in a header", headers: { "X-Original-URL": "/admin" } },
      { says: "a condition that the upstream judges", headers: { "If-Match": '"x"' } },
    ])("$says: the cache is left out", async ({ headers }) => {
      const path = fresh("plain");
      expect(await states(path, headers, {})).toEqual(["BYPASS", "MISS"]);
      expect(await states(path, headers, {})).toEqual(["BYPASS", "HIT"]);
    });

    test("a GET with a body leaves the cache out; POST is kept for the same body only, and never for GET", async () => {
      const path = fresh("post");
      const send = async (method: string, body: string, more: Asked["headers"] = {}) =>
        (await ask(path, { "Content-Length": body.length, ...more }, { method, body })).cache;
      expect(await send("GET", "poison")).toBe("BYPASS");
      expect([await send("POST", "a"), await send("POST", "b"), await send("POST", "a")]).toEqual([
        "MISS",
        "MISS",
        "HIT",
      ]);
      expect(await send("POST", "a", { "Content-Type": "application/json" })).toBe("MISS");
      expect(await send("POST", "a", { "Content-Encoding": "x" })).toBe("MISS");
      expect((await ask(path)).cache).toBe("MISS");
    });

    test("what plugins do to a response is done to each, and not kept", async () => {
      const path = fresh("rewritten");
      for (const want of ["MISS", "HIT"]) {
        const got = await ask(path);
        expect([got.cache, got.status, got.headers["x-late"]]).toEqual([want, 201, "1"]);
      }
    });

    /** All that is written to the disk is there. */
    async function settled(): Promise<void> {
      const { release, state } = env.states.hold("cache zone:disk_cache_one", () => undefined as unknown as DiskStore);
      await waitFor(() => state.isIdle);
      release();
    }
  });
});

describe("a zone on disk", () => {
  const response = { status: 200, lines: ["X-A", "1"], body: Buffer.from("body"), storedMs: 1, ttlMs: 2 };
  const name = (digit: string): string => digit.repeat(64);
  const filesIn = (path: string): string[] =>
    readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));

  test("what is torn, or is another's, is not there", async () => {
    const path = mkdtempSync(join(folder, "torn-"));
    const store = new DiskStore(path, 1_000_000, env);
    store.putResponse(name("a"), response);
    await waitFor(async () => (await store.response(name("a"))) !== undefined);
    expect(await store.response(name("a"))).toEqual(response);
    const [file = ""] = filesIn(path);
    const whole = readFileSync(file);
    expect(statSync(file).mode & 0o77).toBe(0);
    for (const bytes of [
      whole.subarray(0, -1),
      whole.subarray(0, 18),
      Buffer.alloc(0),
      Buffer.from(whole.toString("latin1").replaceAll("a", "b"), "latin1"),
    ]) {
      writeFileSync(file, bytes);
      expect(await store.response(name("a"))).toBeUndefined();
    }
    await store.close();
  });

  test("it is not larger than it may be: what is oldest goes, and what a dead process has left", async () => {
    const path = mkdtempSync(join(folder, "full-"));
    const store = new DiskStore(path, 200_000, env);
    const body = Buffer.alloc(20_000);
    for (let at = 0; at < 16; at++) store.putResponse(name(at.toString(16)), { ...response, body });
    const size = (): number =>
      filesIn(path).reduce((sum, file) => sum + (existsSync(file) ? statSync(file).size : 0), 0);
    await waitFor(() => filesIn(path).length > 0 && size() > 100_000);
    await waitFor(() => {
      store.sweep();
      return size() <= 200_000 && filesIn(path).every((file) => /\/[0-9a-f]{64}$/.test(file));
    });
    await store.close();
  });

  test("a disk that cannot be written costs hits, nothing else", async () => {
    const path = join(mkdtempSync(join(folder, "none-")), "file");
    writeFileSync(path, "");
    const store = new DiskStore(path, 200_000, env);
    store.putResponse(name("a"), response);
    expect(await store.response(name("a"))).toBeUndefined();
    expect(await store.removeIndex(name("a"))).toBe(false);
    await store.close();
  });
});

test("zones are those of the settings; a key cannot have the method", () => {
  const check = (conf: object): string | undefined =>
    proxyCache.check?.(
      { cache_key: ["$uri"], cache_strategy: "disk", cache_zone: "disk_cache_one", ...conf },
      undefined,
      { compat: "default", cacheZones: ZONES },
    );
  expect(check({})).toBeUndefined();
  expect(check({ cache_zone: "none" })).toBe("cache_zone none not found");
  expect(check({ cache_strategy: "memory" })).toBe("invalid or empty cache_zone for cache_strategy: memory");
  expect(check({ cache_key: ["$request_method"] })).toBe("cache_key variable $request_method unsupported");
});

test("PURGE of one process reaches the others", async () => {
  const heard: ((message: unknown) => void)[] = [];
  const siblings: Siblings = {
    join: (_topic, hear) => {
      heard.push(hear);
      const others = (): typeof heard => heard.filter((one) => one !== hear);
      return { tell: (message) => others().forEach((one) => void one(message)), leave: () => undefined };
    },
  };
  const conf = { cache_strategy: "memory", cache_zone: "memory_cache" };
  const { makeView, makeResponse } = await import("../../src/plugin/testkit/testkit-view.ts");
  const processes = [0, 1].map(() => makeEnv({ plugins: [proxyCache], siblings }).compile(proxyCache, conf));
  const get = async (phases: PluginPhases | undefined): Promise<unknown> => {
    const view = makeView({ target: "/a" });
    const answer = await phases?.access?.(view);
    if (answer) return "HIT";
    view.upstream.statuses.push(200);
    const response = makeResponse();
    phases?.headerFilter?.(view, response);
    for (const stage of response.stages) {
      if ("apply" in stage) continue;
      const flow = stage.open({ write: () => true, flush() {}, end() {}, ready() {}, fail() {} }, undefined);
      flow.write(Buffer.from("body"));
      flow.end();
      flow.close?.();
    }
    return response.headers.get("apisix-cache-status");
  };
  for (const phases of processes) expect([await get(phases), await get(phases)]).toEqual(["MISS", "HIT"]);
  await processes[0]?.access?.(makeView({ target: "/a", method: "PURGE" }));
  for (const phases of processes) expect(await get(phases)).toBe("MISS");
});
