/**
 * Revocations through the Admin API: what is taken, what is refused, what is shown, and that no token stays anywhere.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tidyRevocations } from "../../src/admin/revocations/revocation-keeper.ts";
import { FakeClock, systemClock } from "../../src/base/clock.ts";
import { fingerprintOfText } from "../../src/base/jose/token.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import { hourOf, revocationsDir } from "../../src/model/revocation.ts";
import { openRevocations } from "../../src/runtime/revocation/live-revocations.ts";
import { prefixRange } from "../../src/store/store.ts";
import { type AdminWorld, openAdminWorld, type Reply, VIEWER_KEY } from "../support/admin.ts";
import { makeToken } from "../support/jwt.ts";

const now = (): number => Math.floor(Date.now() / 1_000);
let world: AdminWorld;

beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(async () => {
  await world.close();
});

const post = (body: unknown, query = "", at = world): Promise<Reply> =>
  at.call("POST", `/revocations${query}`, { body });

async function stored(at = world): Promise<ReadonlyMap<string, string>> {
  const all = new Map<string, string>();
  for await (const page of at.store.list(prefixRange("/apisix")))
    for (const { key, value } of page.kvs) all.set(key, value.toString("utf8"));
  return all;
}

const batches = async (at = world): Promise<readonly string[]> =>
  [...(await stored(at)).keys()].filter((key) => /token_revocations\/\d/.test(key));

/** What a gateway makes of the store. */
async function asGateway(at: AdminWorld, clock = systemClock) {
  const live = openRevocations({ prefix: "/apisix", clock, metrics: openMetrics(), keepMs: 600_000 });
  for await (const page of at.store.list(prefixRange(revocationsDir("/apisix")))) {
    for (const { key, value } of page.kvs) expect(live.apply(key, value)).toBeUndefined();
  }
  const find = (text: string, expires: unknown) =>
    live.find(
      {
        ...{ consumer: undefined, client: undefined, issuer: undefined, subject: undefined, keyId: undefined },
        ...{ issuedAt: undefined, expires, id: undefined, checked: 0, fingerprint: undefined },
      },
      fingerprintOfText(text),
    );
  live.close();
  return { live, find };
}

describe("what is refused says why, and writes nothing", () => {
  const token = makeToken();
  test.each([
    { says: "nothing", body: undefined, error: "nothing to revoke: expected an entry, or a list of entries" },
    { says: "an empty list", body: [], error: "nothing to revoke: expected an entry, or a list of entries" },
    { says: "no object", body: [1], error: "entry 1: an object is expected" },
    {
      says: "an empty entry",
      body: {},
      error: "nothing to revoke: expected token, jti, consumer, client_id, subject, kid or issuer",
    },
    {
      says: "an id without issuer",
      body: [{ consumer: "a" }, { issuer: "i" }, { jti: "x" }],
      error: "entry 3: jti needs issuer",
    },
    { says: "a subject without issuer", body: { subject: "x" }, error: "subject needs issuer" },
    { says: "a key without issuer", body: { kid: "x" }, error: "kid needs issuer" },
    {
      says: "two things",
      body: { consumer: "a", client_id: "b" },
      error: 'consumer cannot be together with "client_id"',
    },
    {
      says: "an unknown member",
      body: { consumer: "a", isued_before: 1 },
      error: 'consumer cannot be together with "isued_before"',
    },
    {
      says: "a time for a key",
      body: { issuer: "i", kid: "k", issued_before: 1 },
      error: 'kid cannot be together with "issued_before"',
    },
    { says: "a number as name", body: { consumer: 7 }, error: "consumer should be a text" },
    { says: "an empty name", body: { issuer: "" }, error: "issuer is empty" },
    { says: "a NUL", body: { issuer: "a\0b" }, error: "issuer holds a NUL" },
    { says: "no token", body: { token: "abc" }, error: "token is not a JSON Web Token in its compact form" },
    {
      says: "a time in words",
      body: { consumer: "a", issued_before: "now" },
      error: "issued_before should be a number of seconds since 1970",
    },
    {
      says: "milliseconds",
      body: { consumer: "a", issued_before: Date.now() },
      error: "issued_before should be a number of seconds since 1970",
    },
    {
      says: "a time far ahead",
      body: { consumer: "a", issued_before: 4_000_000_000 },
      error: "issued_before is more than a day ahead: it is in seconds since 1970, and refuses tokens that are older",
    },
    {
      says: "a novel as reason",
      body: { consumer: "a", reason: "x".repeat(257) },
      error: "reason should be a text of at most 256 characters",
    },
    {
      says: "an end in words",
      body: { issuer: "i", jti: "j", exp: "never" },
      error: "exp should be a number of seconds since 1970",
    },
    {
      says: "too many",
      body: Array.from({ length: 10_001 }, () => ({ consumer: "a" })),
      error: "10001 entries in one call, at most 10000 are possible",
    },
    {
      says: "no JSON",
      body: `{"token":"${token}"`,
      error: "invalid request body: it is no JSON, or names a member twice",
    },
    {
      says: "a member twice",
      body: `{"token":"${token}","token":"${token}"}`,
      error: "invalid request body: it is no JSON, or names a member twice",
    },
  ])("$says", async ({ body, error }) => {
    const answer = await post(body);
    expect([answer.status, answer.body]).toEqual([400, { error_msg: error }]);
    expect(await batches()).toEqual([]);
    expect([...(await stored()).keys()].filter((key) => key.includes("/epochs/"))).toEqual([]);
  });

  test("a viewer may read and not revoke", async () => {
    const headers = { "X-API-KEY": VIEWER_KEY };
    expect((await world.call("POST", "/revocations", { headers, body: { consumer: "a" } })).status).toBe(401);
    expect((await world.call("DELETE", "/revocations/x", { headers })).status).toBe(401);
    expect((await world.call("GET", "/revocations", { headers })).status).toBe(200);
  });
});

describe("a revoked token", () => {
  test("is in the store as a fingerprint only, and in no answer, history or log", async () => {
    const exp = now() + 1_000;
    const token = makeToken({ payload: { key: "jack-key", exp, jti: "very-own-id" } });
    const answer = await post({ token });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ revoked: 1, revision: expect.any(Number) });
    const [key] = await batches();
    expect(key).toMatch(new RegExp(`^/apisix/token_revocations/${hourOf(exp)}/[0-9a-f]{8}-1-1$`));
    const history = await world.call("GET", "/history?page_size=1");
    expect(history.body.list[0]).toMatchObject({
      actor: "ops",
      path: "/apisix/admin/revocations",
      revoked: { tokens: 1 },
    });
    const everything = JSON.stringify([...(await stored())]) + history.text + answer.text;
    for (const part of [...token.split("."), "very-own-id"]) expect(everything).not.toContain(part);
    expect((await asGateway(world)).find(token, exp)).toEqual({ type: "token" });
  });

  test("is found again by whoever checks it, with any signature", async () => {
    const token = makeToken({ payload: { key: "k", exp: now() + 1_000, n: 1 } });
    const check = (body: object) => world.call("POST", "/revocations/check", { body });
    expect((await check({ token })).body).toEqual({ revoked: false });
    await post({ token });
    const other = `${token.slice(0, token.lastIndexOf("."))}.AAAA`;
    for (const text of [token, other]) {
      expect((await check({ token: text })).body).toEqual({ revoked: true, by: { type: "token" } });
    }
  });

  test("named by issuer and id is found by either", async () => {
    const exp = now() + 5_000;
    await post({ issuer: "https://idp", jti: "7", exp });
    const check = (body: object) => world.call("POST", "/revocations/check", { body });
    expect((await check({ issuer: "https://idp", jti: "7", exp })).body).toMatchObject({ revoked: true });
    expect((await check({ issuer: "https://idp", jti: "8", exp })).body).toEqual({ revoked: false });
    const token = makeToken({ payload: { iss: "https://idp", jti: "7", exp } });
    expect((await check({ token })).body).toMatchObject({ revoked: true });
  });

  test.each([
    { says: "without an end", exp: undefined },
    { says: "that ended long ago and lives by a grace period", exp: 1_700_000_000 },
    { says: "that ends after the year 2106", exp: 5_000_000_000 },
    { says: "whose end is no number", exp: "tomorrow" },
  ])("$says is refused all the same", async ({ exp }) => {
    const token = makeToken({ payload: { key: "k", exp, at: `${exp}` } });
    expect((await post({ token })).status).toBe(200);
    expect((await asGateway(world)).find(token, exp)).toEqual({ type: "token" });
  });

  test("that was said to be only tried out stays as it is", async () => {
    const before = await stored();
    const token = makeToken({ payload: { key: "k", exp: now() + 1_000, dry: true } });
    const answer = await post([{ token }, { consumer: "nobody" }], "?dry_run=1");
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({
      dry_run: true,
      status: 200,
      revoked: 2,
      rules: [{ type: "consumer", value: "nobody" }],
    });
    expect(answer.body.warnings).toMatchObject([{ code: "unknown_consumer", key: "/apisix/consumers/nobody" }]);
    expect(await stored()).toEqual(before);
  });
});

test.each([
  { says: "an issuer", body: { issuer: "https://idp.exmaple" } },
  { says: "a subject", body: { issuer: "https://idp.exmaple", subject: "x" } },
  { says: "a kid", body: { issuer: "https://idp.exmaple", kid: "x" } },
  { says: "the id of a token", body: { issuer: "https://idp.exmaple", jti: "x" } },
  { says: "several, one of them known", body: [{ issuer: "https://idp.exmaple" }, { issuer: "https://idp.example" }] },
])("an issuer that no record has is warned of when one ends $says", async ({ body }) => {
  const own = await openAdminWorld();
  const record = { issuer: "https://idp.example", valid_issuers: ["https://idp.example", "https://idp.example/{tid}"] };
  const tenants = ["11111111-1111-1111-1111-111111111111"];
  expect((await own.call("PUT", "/token_issuers/idp", { body: { ...record, tenants } })).status).toBe(201);
  const said = `no record of token_issuers or authorization_servers has the issuer https://idp.exmaple: check how it is written`;
  const answer = await post(body, "?dry_run=1", own);
  expect(answer.body.warnings).toEqual([{ code: "unknown_issuer", key: "/apisix/token_issuers/", message: said }]);
  for (const issuer of ["https://idp.example", `https://idp.example/${tenants[0]}`]) {
    expect((await post({ issuer }, "?dry_run=1", own)).body.warnings).toEqual([]);
  }
  await own.close();
});

describe("a rule", () => {
  test("refuses what was issued before the next full second, is listed, never weakened, and taken back", async () => {
    await world.call("PUT", "/consumers", { body: { username: "shop", plugins: { "jwt-auth": { key: "shop-key" } } } });
    const from = now();
    const answer = await post({ consumer: "shop", reason: "laptop stolen" });
    expect(answer.status).toBe(200);
    const [rule] = answer.body.rules;
    expect(rule).toMatchObject({ type: "consumer", value: "shop", reason: "laptop stolen" });
    expect(rule.issued_before).toBeGreaterThan(from);
    expect(rule.issued_before).toBeLessThanOrEqual(now() + 1);
    expect(answer.body.warnings).toBeUndefined();
    await post({ consumer: "shop", issued_before: 1_000 });
    const listed = await world.call("GET", "/revocations");
    expect(listed.body.list.filter(({ value }: { value: string }) => value === "shop")).toMatchObject([
      { name: rule.name, issued_before: rule.issued_before, reason: "laptop stolen" },
    ]);
    expect((await world.call("GET", `/revocations/${rule.name}`)).body).toMatchObject({ value: "shop" });

    const check = async (payload: object) =>
      (await world.call("POST", "/revocations/check", { body: { token: makeToken({ payload }) } })).body;
    const by = { type: "consumer", value: "shop", issued_before: rule.issued_before, reason: "laptop stolen" };
    expect(await check({ key: "shop-key", iat: from - 10 })).toEqual({ revoked: true, by });
    expect(await check({ key: "shop-key" })).toEqual({ revoked: true, by });
    expect(await check({ key: "shop-key", iat: rule.issued_before })).toEqual({ revoked: false });
    expect(await check({ key: "other-key", iat: 1 })).toEqual({ revoked: false });

    expect((await world.call("DELETE", `/revocations/${rule.name}?dry_run=1`)).body).toMatchObject({ dry_run: true });
    expect((await world.call("DELETE", `/revocations/${rule.name}`)).status).toBe(200);
    expect((await world.call("DELETE", `/revocations/${rule.name}`)).status).toBe(404);
    expect(await check({ key: "shop-key", iat: from - 10 })).toEqual({ revoked: false });
    const history = (await world.call("GET", "/history?page_size=3")).body.list;
    expect(history[0].revoked).toMatchObject({ taken_back: [{ type: "consumer", value: "shop" }] });
  });

  test("of each type is written, and a later call is one rule more", async () => {
    const issuer = "https://idp.example";
    const all = [{ client_id: "batch" }, { issuer, subject: "s" }, { issuer, kid: "k" }, { issuer }];
    const answer = await post(all);
    expect(answer.body.rules.map(({ type }: { type: string }) => type)).toEqual(["client", "subject", "kid", "issuer"]);
    const total = (await world.call("GET", "/revocations")).body.total;
    await post(all);
    expect((await world.call("GET", "/revocations")).body.total).toBe(total);
    const token = makeToken({ header: { kid: "k" }, payload: { iss: issuer, iat: now() + 100 } });
    const check = await world.call("POST", "/revocations/check", { body: { token } });
    expect(check.body).toEqual({ revoked: true, by: { type: "kid", value: "k", issuer } });
  });

  test("stays when the configuration is rolled back to before it, and the answer says so", async () => {
    const first = await world.call("PUT", "/routes/before", {
      body: { uri: "/before", upstream: { nodes: { "a:1": 1 } } },
    });
    const revision = Number(first.headers["etag"]?.replaceAll('"', ""));
    await post({ consumer: "rolled", issued_before: 5 });
    await world.call("DELETE", "/routes/before");
    const answer = await world.call("POST", `/history/${revision}/rollback`);
    expect(answer.status).toBe(200);
    expect(answer.body.warnings).toContainEqual(
      expect.objectContaining({ code: "not_rolled_back", key: "/apisix/token_revocations/" }),
    );
    expect((await world.call("GET", "/routes/before")).status).toBe(200);
    const rules = (await world.call("GET", "/revocations")).body.list;
    expect(rules).toContainEqual(expect.objectContaining({ value: "rolled" }));
  });
});

describe("many", () => {
  test("10,000 in one call are one transaction of few records", async () => {
    const own = await openAdminWorld();
    const exp = now() + 3_600;
    const body = Array.from({ length: 10_000 }, (_, i) => ({ issuer: "https://idp", jti: String(i), exp }));
    const answer = await post(body, "", own);
    expect(answer.body).toMatchObject({ revoked: 10_000 });
    expect(await batches(own)).toHaveLength(4);
    expect((await own.call("GET", "/revocations")).body.tokens.total).toBe(10_000);
    expect((await asGateway(own)).live.tokenCount).toBe(10_000);
    await own.close();
  });

  test("spread over many hours are as many records, all of them written", async () => {
    const own = await openAdminWorld();
    const body = Array.from({ length: 300 }, (_, i) => ({ issuer: "a", jti: String(i), exp: now() + i * 3_600 }));
    expect((await post(body, "", own)).status).toBe(200);
    expect((await asGateway(own)).live.tokenCount).toBe(300);
    await own.close();
  });

  test("calls at the same time share transactions, and their entry in the history", async () => {
    const own = await openAdminWorld();
    const calls = await Promise.all(
      Array.from({ length: 50 }, (_, i) => post({ issuer: "a", jti: String(i), exp: now() + 60 }, "", own)),
    );
    expect(calls.every(({ status }) => status === 200)).toBe(true);
    expect(new Set(calls.map(({ body }) => body.revision)).size).toBeLessThan(50);
    expect((await asGateway(own)).live.tokenCount).toBe(50);
    const history = (await own.call("GET", "/history")).body.list;
    expect(history).toHaveLength(1);
    expect(history[0].revoked).toEqual({ tokens: 50 });
    await own.close();
  });

  test("more than the bound are refused, rules are not", async () => {
    const own = await openAdminWorld({ revocations: { maxTokens: 3 } });
    const ids = (...names: string[]) => names.map((jti) => ({ issuer: "a", jti, exp: now() + 60 }));
    expect((await post(ids("1", "2", "3"), "", own)).status).toBe(200);
    const answer = await post(ids("4"), "", own);
    expect([answer.status, answer.body]).toEqual([
      507,
      { error_msg: "3 tokens are revoked already: revoke by consumer, client or issuer instead" },
    ]);
    expect((await post({ consumer: "a" }, "", own)).status).toBe(200);
    await own.close();
  });
});

describe("tidying", () => {
  test("merges batches of one hour and loses none of their tokens", async () => {
    const own = await openAdminWorld();
    const exp = now() + 3_600;
    for (let i = 0; i < 20; i++) await post({ issuer: "a", jti: String(i % 18), exp }, "", own);
    const part = { store: own.store, prefix: "/apisix", clock: systemClock, revocations: { keepMs: 600_000 } };
    expect(await batches(own)).toHaveLength(20);
    await Promise.all([tidyRevocations(part), tidyRevocations(part)]); // as two admins do
    expect((await batches(own)).length).toBeLessThan(10);
    expect((await asGateway(own)).live.tokenCount).toBe(18);
    await own.close();
  });

  test("takes away hours and rules that are over, and nothing else", async () => {
    const own = await openAdminWorld();
    const exp = now() + 10;
    await post(
      [
        { issuer: "a", jti: "1", exp },
        { issuer: "a", jti: "2", exp: exp + 86_400 },
        { issuer: "a", jti: "3" },
      ],
      "",
      own,
    );
    await post([{ consumer: "a", issued_before: 1_000 }, { consumer: "b" }, { issuer: "i", kid: "k" }], "", own);
    const clock = new FakeClock((Math.floor(exp / 3_600) * 3_600 + 3_600 + 599) * 1_000);
    const part = { store: own.store, prefix: "/apisix", clock, revocations: { keepMs: 600_000 } };
    await tidyRevocations(part);
    expect(await batches(own)).toHaveLength(3);
    expect((await own.call("GET", "/revocations")).body.total).toBe(2); // the rule of 1970 covers no living token
    clock.advance(2_000);
    await tidyRevocations(part);
    expect(await batches(own)).toHaveLength(2);
    clock.advance(500 * 86_400_000);
    await tidyRevocations(part);
    expect(await batches(own)).toHaveLength(0);
    expect((await own.call("GET", "/revocations")).body.list).toMatchObject([{ type: "kid" }]);
    await own.close();
  });
});
