import { generateKeyPairSync, type JsonWebKey } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE } from "../support/certificates.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

const rsa = (modulusLength: number) => generateKeyPairSync("rsa", { modulusLength }).publicKey;
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const jwk = (key: typeof ec.publicKey): JsonWebKey => key.export({ format: "jwk" });
const pem = (key: typeof ec.publicKey): string => key.export({ type: "spki", format: "pem" }).toString();
const issuer = "https://id.example";
const put = (id: string, body: object, query = "") => world.call("PUT", `/token_issuers/${id}${query}`, { body });

describe("a token issuer", () => {
  test("is written, read, listed, patched and deleted as any record", async () => {
    expect((await put("all", { issuer: "https://all.example", consumer_claim: "azp" })).status).toBe(201);
    expect((await world.call("PATCH", "/token_issuers/all", { body: { clock_skew: 5 } })).status).toBe(200);
    expect((await world.call("GET", "/token_issuers/all")).body.value).toMatchObject({ clock_skew: 5, id: "all" });
    expect((await world.call("GET", "/token_issuers")).body.total).toBe(1);
    expect((await world.call("DELETE", "/token_issuers/all")).status).toBe(200);
  });

  test("hides from viewers and the history what its addresses, labels and description carry", async () => {
    const value = {
      ...{ issuer: "https://q.example", desc: "password: s3cret-0", labels: { team: "a", api_key: "s3cret-1" } },
      discovery: "https://q.example/.well-known/openid-configuration?api_key=s3cret-2&v=1",
    };
    expect((await put("q", value)).status).toBe(201);
    const viewer = { headers: { "X-API-KEY": VIEWER_KEY } };
    const read = await world.call("GET", "/token_issuers/q", viewer);
    for (const path of ["/token_issuers/q", "/token_issuers", "/history", "/configs/export"])
      expect((await world.call("GET", path, viewer)).text, path).not.toContain("s3cret");
    expect(read.body.value).toMatchObject({ issuer: "https://q.example", labels: { team: "a" } });
    expect(read.body.value.discovery).toMatch(/\?api_key=\*+&v=1$/);
    // As a viewer reads it, it can be written back.
    expect((await put("q", read.body.value)).status).toBe(200);
    expect((await world.call("GET", "/token_issuers/q")).body.value).toMatchObject(value);
  });

  test("hides its bearer token from viewers, and shows its public keys", async () => {
    await put("v", { issuer: "https://v.example", bearer_token: "s3cret" });
    const { text } = await world.call("GET", "/token_issuers/v", { headers: { "X-API-KEY": VIEWER_KEY } });
    expect(text).not.toContain("s3cret");
    const another = { issuer: "https://v.example", bearer_token: "s3cret-2" };
    expect((await put("v", another, "?dry_run=1")).text).not.toContain("s3cret");
    await put("v", another);
    const { list } = (await world.call("GET", "/history")).body;
    for (const { revision } of list)
      expect((await world.call("GET", `/history/${revision}`)).text).not.toContain("s3cret");
    const keys = [{ ...jwk(ec.publicKey), kid: "k1" }];
    await put("k", { issuer: "https://k.example", jwks: { keys } });
    const shown = await world.call("GET", "/token_issuers/k", { headers: { "X-API-KEY": VIEWER_KEY } });
    expect(shown.body.value.jwks.keys).toEqual(keys);
  });

  test.each([
    [{}, 'property "issuer" is required'],
    [{ issuer, audiance_claim: "x" }, "additional properties forbidden, found audiance_claim"],
    [
      { issuer, algorithms: ["HS256"] },
      'property "algorithms" validation failed: failed to validate item 1: matches none of the enum values',
    ],
    [
      { issuer, jwks_uri: "https://a.b/c", discovery: "https://a.b/d" },
      "discovery and jwks_uri: keys come from one of them only",
    ],
    [
      { issuer: "http://id.example" },
      "issuer must be https, or allow_http true; or give discovery, jwks_uri, jwks or public_key",
    ],
    [{ issuer: "accounts" }, "issuer is no http or https address; or give discovery, jwks_uri, jwks or public_key"],
    [{ issuer, jwks_uri: "http://id.example/k" }, "jwks_uri must be https, or allow_http true"],
    [{ issuer, jwks_uri: "https://me:pw@id.example/k" }, "jwks_uri holds credentials; use bearer_token"],
    [
      { issuer, valid_issuers: ["https://id.example/{tid}"] },
      'valid_issuers with {tid} needs tenants: their ids, or ["*"] for any',
    ],
    [{ issuer, tenants: ["*"] }, "tenants is for issuers with {tid}, and there is none"],
    [{ issuer, bearer_token: "a\r\nb" }, "bearer_token holds a character that no header value has"],
    [
      { issuer, bearer_token: "$ENV://TOKEN" },
      "bearer_token cannot be a reference; use bearer_token_file, which is read for each fetch",
    ],
    [{ issuer, bearer_token: "a", bearer_token_file: "/b" }, "bearer_token and bearer_token_file: one of them only"],
    [{ issuer, ca: "x".repeat(200) }, "ca is not a PEM certificate"],
    [{ issuer, public_key: pem(rsa(1024)) }, "public_key: RSA key of 1024 bits"],
    [{ issuer, public_key: ec.privateKey.export({ type: "pkcs8", format: "pem" }) }, "public_key: it is a private key"],
    [
      { issuer, jwks: { keys: [{ kty: "oct", k: "c2VjcmV0" }] } },
      "jwks: none of its 1 keys can be used: a symmetric key",
    ],
  ])("%j is refused, with what is wrong and the cure", async (body, why) => {
    const reply = await put("bad", body);
    expect(reply.status).toBe(400);
    expect(reply.body.error_msg).toBe(`invalid configuration: ${why}`);
  });

  test("may be http on loopback, and have no address at all with fixed keys", async () => {
    expect((await put("loop", { issuer: "http://127.0.0.1:8080/realms/a" })).status).toBe(201);
    expect((await put("fixed", { issuer: "accounts", public_key: pem(ec.publicKey) })).status).toBe(201);
  });
});

describe("the keys of a record", () => {
  test("are said by the record itself where they are fixed, and cannot be fetched", async () => {
    const short = { ...jwk(rsa(1_024)), kid: "short" };
    await put("own", { issuer: "https://own.example", jwks: { keys: [{ ...jwk(ec.publicKey), kid: "k1" }, short] } });
    const { body } = await world.call("GET", "/token_issuers/own/status", { headers: { "X-API-KEY": VIEWER_KEY } });
    expect(body).toEqual({
      kids: [{ kid: "k1", kty: "EC", algorithms: ["ES256"] }],
      skipped: [{ kid: "short", why: "RSA key of 1024 bits" }],
      ...{ fetched_at: null, source: "jwks", by: null, nodes: [] },
    });
    expect((await world.call("POST", "/token_issuers/own/refresh")).body.error_msg).toBe(
      "the keys of /apisix/token_issuers/own are fixed, nothing is fetched: write the record to change them",
    );
  });

  test("are fetched now by admins only, which changes nothing of the record and its history", async () => {
    await put("now", { issuer: "https://now.example" });
    const read = async () => JSON.stringify((await world.call("GET", "/token_issuers/now")).body.value);
    const past = async () => (await world.call("GET", "/history")).body.total;
    const [before, entries] = [await read(), await past()];
    const viewer = { headers: { "X-API-KEY": VIEWER_KEY } };
    expect((await world.call("POST", "/token_issuers/now/refresh", viewer)).status).toBe(401);
    expect(await world.call("POST", "/token_issuers/now/refresh")).toMatchObject({
      status: 200,
      body: { key: "/apisix/token_issuers/now" },
    });
    expect([await read(), await past()]).toEqual([before, entries]);
    expect((await world.call("GET", "/token_issuers/nobody/status")).status).toBe(404);
  });
});

describe("an iss belongs to one record", () => {
  const tid = "72f988bf-86f1-41af-91ab-2d7cd011db47";
  const template = "https://sts.example/{tid}/";
  test.each([
    ["the same issuer", { issuer: "https://one.example" }, { issuer: "https://one.example" }, "https://one.example"],
    [
      "a further one",
      { issuer: "https://two.example", valid_issuers: ["https://two.example", "https://2.example"] },
      { issuer: "https://2.example" },
      "https://2.example",
    ],
    [
      "a tenant's",
      { issuer: "https://three.example", valid_issuers: [template], tenants: [tid] },
      { issuer: `https://sts.example/${tid}/` },
      `https://sts.example/${tid}/`,
    ],
  ])("%s is refused to a second one", async (name, first, second, shared) => {
    const id = name.replaceAll(/\W/g, "");
    expect((await put(id, first)).status).toBe(201);
    expect(await put(`${id}2`, second)).toMatchObject({
      status: 400,
      body: { error_msg: `issuer ${shared} is already that of token_issuers/${id}` },
    });
    expect((await put(id, first)).status).toBe(200);
    await world.call("DELETE", `/token_issuers/${id}`);
    expect((await put(`${id}2`, second)).status).toBe(201);
    await world.call("DELETE", `/token_issuers/${id}2`);
  });

  test("of two at the same time one is refused", async () => {
    const replies = await Promise.all(
      ["r1", "r2", "r3", "r4"].map((id) => put(id, { issuer: "https://race.example" })),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([201, 400, 400, 400]);
  });
});

test.each([
  ["any_tenant", { valid_issuers: ["https://w.example/{tid}"], tenants: ["*"] }],
  ["keys_over_http", { jwks_uri: "http://w.example/keys", allow_http: true }],
  ["certificate_unchecked", { ssl_verify: false }],
  ["ca_alone", { ca: CERTIFICATE, public_key: pem(ec.publicKey) }],
])("a dry run warns %s", async (code, more) => {
  const reply = await put("w", { issuer: "https://w.example", ...more }, "?dry_run=1");
  expect(reply.status, reply.text).toBe(200);
  expect(reply.body.warnings.map((one: { code: string }) => one.code)).toEqual([code]);
});
