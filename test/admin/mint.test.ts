/**
 * Test tokens of consumers and credentials: what is signed, what is refused, and that a gateway takes it.
 */
import { generateKeyPairSync } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { openJwtNode } from "../support/jwt-auth.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const PAIR = generateKeyPairSync("ec", {
  namedCurve: "P-256",
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
});
let world: AdminWorld;

beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

const put = (name: string, plugins: object) =>
  world.call("PUT", `/consumers/${name}`, { body: { username: name, plugins } });
const mint = (path: string, body?: unknown, key?: string) =>
  world.call("POST", `/consumers/${path}/token`, { body, ...(key !== undefined && { headers: { "X-API-KEY": key } }) });
const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());

test.each([
  ["HS256", { secret: SECRET }],
  ["HS512", { secret: Buffer.from(SECRET.repeat(2)).toString("base64"), base64_secret: true, algorithm: "HS512" }],
  ["ES256", { algorithm: "ES256", public_key: PAIR.publicKey, private_key: PAIR.privateKey, kid: "k1" }],
])("%s: a node takes it, and no claim overrides what is set here", async (name, more) => {
  const conf = { key: `${name}-key`, ...more };
  expect((await put(name, { "jwt-auth": conf })).status).toBe(201);
  const now = Math.floor(Date.now() / 1_000);
  const claims = { role: "tester", key: "other", exp: 1, iat: 1 };
  const { status, body, headers } = await mint(name, { claims, lifetime: 90 });
  expect([status, body.plugin, headers["cache-control"]]).toEqual([200, "jwt-auth", "no-store"]);
  const { exp, iat, ...said } = claimsOf(body.token);
  expect(said).toEqual({ role: "tester", key: `${name}-key` });
  expect([exp - iat, exp]).toEqual([90, body.expires]);
  expect(iat).toBeGreaterThanOrEqual(now);
  const stored = (await world.call("GET", `/consumers/${name}`)).body.value.plugins["jwt-auth"];
  const node = openJwtNode();
  node.jack(stored);
  expect((await node.callWith(body.token)).status).toBe(200);
});

test("what cannot be signed is refused with its reason, and a viewer signs nothing", async () => {
  await put("ref", { "jwt-auth": { key: "ref", secret: "$ENV://SECRET_OF_REF" } });
  await put("public", { "jwt-auth": { key: "public", algorithm: "ES256", public_key: PAIR.publicKey } });
  await put("other", { "key-auth": { key: "other-key-0123456789" } });
  await put("viewed", { "jwt-auth": { key: "viewed", secret: SECRET } });
  expect((await mint("ref")).body.error_msg).toContain("reference");
  expect((await mint("public")).body.error_msg).toContain("no private_key");
  expect((await mint("other")).body.error_msg).toContain("no credential that signs");
  expect((await mint("nobody")).status).toBe(404);
  expect((await mint("viewed", undefined, VIEWER_KEY)).status).toBe(401);
  for (const body of [{ lifetime: 86_401 }, { lifetime: 1.5 }, { claims: [] }, { more: 1 }, []])
    expect([body, (await mint("viewed", body)).status]).toEqual([body, 400]);
  expect((await mint("viewed")).status).toBe(200);
});
