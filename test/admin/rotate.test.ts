/**
 * Rotating a caller's secret or key with an overlap, and what a node makes of the record that is then stored.
 */
import { createSecretKey } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { keyringCodec } from "../../src/admin/sealing/keyring-codec.ts";
import { openKeyring } from "../../src/base/keyring.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { declaredMembersOf, pluginFieldsOf } from "../../src/runtime/field-opener.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { keyOf, makeToken, SECRET } from "../support/jwt.ts";
import { openJwtNode } from "../support/jwt-auth.ts";

const keyText = (secret: string) => createSecretKey(Buffer.from(secret, "utf8"));
const now = (): number => Math.floor(Date.now() / 1_000);
let world: AdminWorld;

beforeAll(async () => {
  const registry = openPluginRegistry([jwtAuth]);
  const codec = keyringCodec(
    openKeyring(["0123456789abcdef"], "gcm"),
    pluginFieldsOf(registry),
    "/apisix",
    declaredMembersOf(registry),
  );
  world = await openAdminWorld({ codec });
});
afterAll(async () => {
  await world.close();
});

const put = (name: string, conf: object) =>
  world.call("PUT", `/consumers/${name}`, {
    body: { username: name, plugins: { "jwt-auth": { key: `${name}-key`, ...conf } } },
  });
const rotate = (path: string, query = "", body?: unknown) =>
  world.call("POST", `/consumers/${path}/rotate${query}`, { body });
const confOf = async (path: string) => (await world.call("GET", `/consumers/${path}`)).body.value.plugins["jwt-auth"];

describe("a secret", () => {
  test("is made anew, shown once, sealed, and the former one is kept until the overlap is over", async () => {
    await put("jack", { secret: SECRET, exp: 100 });
    const answer = await rotate("jack", "?overlap=600");
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      key: "/apisix/consumers/jack",
      plugin: "jwt-auth",
      generated: { secret: expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/) },
      previous_keys: [{ not_after: expect.any(Number) }],
    });
    const { secret } = answer.body.generated;
    const conf = await confOf("jack");
    expect(conf).toMatchObject({ key: "jack-key", exp: 100, secret, previous_keys: [{ secret: SECRET }] });
    expect(conf.previous_keys[0].not_after - now()).toBeGreaterThan(590);
    const { kv } = await world.store.get("/apisix/consumers/jack");
    for (const plain of [secret, SECRET]) expect(kv?.value.toString("utf8")).not.toContain(plain);
    const history = await world.call("GET", "/history?page_size=1");
    expect(history.body.list[0]).toMatchObject({ method: "POST", path: "/apisix/admin/consumers/jack/rotate" });
    for (const plain of [secret, SECRET]) expect(history.text).not.toContain(plain);
    const viewed = await world.call("GET", "/consumers/jack", { headers: { "X-API-KEY": VIEWER_KEY } });
    for (const plain of [secret, SECRET]) expect(viewed.text).not.toContain(plain);

    const node = openJwtNode();
    node.jack(conf);
    const clock = node.env.clock;
    clock.advance(Date.now() - clock.nowMs());
    expect((await node.callWith(makeToken({ key: keyText(SECRET) }))).status).toBe(200);
    expect((await node.callWith(makeToken({ key: keyText(secret) }))).status).toBe(200);
    clock.advance(601_000);
    expect((await node.callWith(makeToken({ key: keyText(SECRET) }))).status).toBe(401);
    expect((await node.callWith(makeToken({ key: keyText(secret) }))).status).toBe(200);
  });

  test("with overlap=0 is the only one from then on", async () => {
    await put("zero", { secret: SECRET, previous_keys: [{ secret: `${SECRET}1`, not_after: now() + 1_000 }] });
    const answer = await rotate("zero", "?overlap=0");
    expect(answer.body.previous_keys).toEqual([]);
    expect(await confOf("zero")).toEqual({ key: "zero-key", algorithm: "HS256", secret: answer.body.generated.secret });
  });

  test("can be rotated three times within the overlap, and a fourth time when one has ended", async () => {
    await put("often", { secret: SECRET, previous_keys: [{ secret: `${SECRET}1`, not_after: 5 }] });
    for (let i = 0; i < 3; i++) expect((await rotate("often")).body.previous_keys).toHaveLength(i + 1);
    const answer = await rotate("often");
    expect([answer.status, answer.body.error_msg]).toEqual([
      400,
      "jwt-auth: 3 former keys are still taken: wait until one has ended, or rotate with overlap=0",
    ]);
    expect((await rotate("often", "?overlap=0")).status).toBe(200);
  });

  test("of a credential is rotated beside its consumer's", async () => {
    await put("owner", { secret: SECRET });
    const body = { plugins: { "jwt-auth": { key: "cred-key", secret: SECRET, algorithm: "HS512" } } };
    await world.call("PUT", "/consumers/owner/credentials/c1", { body });
    const answer = await rotate("owner/credentials/c1");
    expect(answer.body.key).toBe("/apisix/consumers/owner/credentials/c1");
    expect(Buffer.from(answer.body.generated.secret, "base64")).toHaveLength(64);
    expect((await confOf("owner")).secret).toBe(SECRET);
  });

  test("is rotated by each of several calls at the same time", async () => {
    await put("race", { secret: SECRET });
    const answers = await Promise.all([rotate("race"), rotate("race")]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const made = answers.map(({ body }) => body.generated.secret);
    const conf = await confOf("race");
    expect([conf.secret, conf.previous_keys[0].secret].sort()).toEqual([...made].sort());
    expect(conf.previous_keys[1].secret).toBe(SECRET);
  });

  test("that is only tried out stays as it is", async () => {
    await put("dry", { secret: SECRET });
    const answer = await rotate("dry", "?dry_run=1");
    expect(answer.body).toMatchObject({ dry_run: true });
    expect(answer.text).not.toContain(SECRET);
    expect((await confOf("dry")).secret).toBe(SECRET);
  });
});

test("a key pair is replaced by the one that is brought along", async () => {
  const { conf } = keyOf("ES256");
  await put("pair", { algorithm: "ES256", ...conf });
  expect((await rotate("pair")).body.error_msg).toBe(
    'jwt-auth: ES256 needs {"public_key": …}, and "private_key" to sign with',
  );
  expect((await rotate("pair", "", { public_key: "x" })).body.error_msg).toContain("public_key");
  const answer = await rotate("pair", "", conf);
  expect(answer.body).toEqual({
    ...{ key: "/apisix/consumers/pair", plugin: "jwt-auth" },
    previous_keys: [{ not_after: expect.any(Number) }],
  });
  expect((await confOf("pair")).previous_keys[0].public_key).toBe((conf as { public_key: string }).public_key);
});

test("keys that have names go on having them, each its own", async () => {
  await put("named", { secret: SECRET, kid: "first" });
  await rotate("named");
  const { kid, previous_keys: previous } = await confOf("named");
  expect(kid).toMatch(/^[A-Za-z0-9_-]{12}$/);
  expect(previous).toMatchObject([{ kid: "first", secret: SECRET }]);
  const { conf } = keyOf("ES256");
  await put("named-pair", { algorithm: "ES256", ...conf, kid: "a" });
  expect((await rotate("named-pair", "", { ...conf, kid: "a" })).body.error_msg).toContain(
    "two of its keys have the same",
  );
  expect((await rotate("named-pair", "", { ...conf, kid: "b" })).status).toBe(200);
  expect(await confOf("named-pair")).toMatchObject({ kid: "b", previous_keys: [{ kid: "a" }] });
});

describe("what cannot be rotated says why", () => {
  test.each([
    { says: "no such consumer", path: "nobody", status: 404 },
    {
      says: "an overlap in words",
      path: "why",
      query: "?overlap=1d",
      error: "invalid argument overlap: should be whole seconds from 0 to 34560000",
    },
    {
      says: "a secret that is brought along",
      path: "why",
      body: { secret: "x" },
      error: 'jwt-auth: HS256 has a secret, which is made here: "secret" is not expected',
    },
    {
      says: "a list",
      path: "why",
      body: [],
      error: "invalid configuration: expected an object with public_key, or no body",
    },
    {
      says: "a plugin that is not there",
      path: "why",
      query: "?plugin=key-auth",
      error: "/apisix/consumers/why has no key-auth that can be rotated",
    },
    {
      says: "no plugin at all",
      path: "bare",
      error: "/apisix/consumers/bare has no plugin with a key that can be rotated",
    },
    { says: "a reference", path: "ref", error: "jwt-auth: secret is a reference: rotate it where it points to" },
  ])("$says", async ({ path, query = "", body, status = 400, error }) => {
    await put("why", { secret: SECRET });
    await put("ref", { secret: "$ENV://SECRET" });
    await world.call("PUT", "/consumers/bare", { body: { username: "bare" } });
    const answer = await rotate(path, query, body);
    expect(answer.status).toBe(status);
    if (error) expect(answer.body.error_msg).toBe(error);
  });

  test.each([
    {
      says: "two kinds of key",
      keys: [{ secret: SECRET, public_key: "x", not_after: 1 }],
      error: "previous_keys 1: secret is needed with HS256",
    },
    {
      says: "no key",
      keys: [{ secret: SECRET, not_after: 1 }, { not_after: 1 }],
      error: "previous_keys 2: secret is needed with HS256",
    },
    {
      says: "a key of another algorithm",
      keys: [{ public_key: "x", not_after: 1 }],
      error: "previous_keys 1: secret is needed with HS256",
    },
  ])("and so does a record with $says as former key", async ({ keys, error }) => {
    const answer = await put("bad", { secret: SECRET, previous_keys: keys });
    expect([answer.status, answer.body.error_msg]).toEqual([
      400,
      `invalid plugins configuration: failed to check the configuration of plugin jwt-auth err: ${error}`,
    ]);
  });
});
