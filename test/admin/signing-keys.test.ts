/** Authorization servers, their keys and clients through the Admin API: docs/spec/tokens.md section 5. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { catalogOf } from "../../src/admin/plugin-catalog.ts";
import { keyringCodec } from "../../src/admin/sealing/keyring-codec.ts";
import { systemClock } from "../../src/base/clock.ts";
import { makeKeyPem, readKeyPair } from "../../src/base/jose/key-pair.ts";
import { openKeyring } from "../../src/base/keyring.ts";
import { authorizationServer } from "../../src/plugins/authorization-server/authorization-server.ts";
import { oauth2Client } from "../../src/plugins/oauth2-client/oauth2-client.ts";
import { pluginFieldsOf } from "../../src/runtime/field-opener.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { openSigningKeys } from "../../src/token/signing-keys.ts";
import { type AdminWorld, openAdminWorld, PLUGINS, VIEWER_KEY } from "../support/admin.ts";

const plugins = [...PLUGINS, authorizationServer, oauth2Client];
let world: AdminWorld;
beforeAll(async () => {
  const registry = openPluginRegistry(plugins);
  const catalog = catalogOf(registry, { compat: "default" });
  const keyring = openKeyring([randomBytes(32).toString("base64")], "gcm");
  world = await openAdminWorld({
    ...{ plugins, catalog, codec: keyringCodec(keyring, pluginFieldsOf(registry), "/apisix", catalog.declared) },
  });
});
afterAll(() => world.close());

let made = 0;
const issuer = () => `https://auth-${++made}.example`;
const put = (path: string, body: object) => world.call("PUT", path, { body });
const stored = async (key: string): Promise<string> => (await world.store.get(key)).kv?.value.toString() ?? "";
const everything = async (): Promise<string> => {
  let all = "";
  for await (const page of world.store.list({ start: "/", end: "0" })) for (const kv of page.kvs) all += kv.value;
  return all;
};

describe("an authorization server", () => {
  test("gets a key for each algorithm in the same write, whose private half is sealed and shown to nobody", async () => {
    const answer = await put("/authorization_servers/main", { issuer: issuer(), algorithms: ["ES256", "EdDSA"] });
    expect(answer.status).toBe(201);
    const keys: { algorithm: string; kid: string }[] = answer.body.signing_keys;
    expect(keys.map(({ algorithm }) => algorithm)).toEqual(["ES256", "EdDSA"]);
    for (const { kid } of keys) {
      for (const headers of [{}, { "X-API-KEY": VIEWER_KEY }]) {
        const { body } = await world.call("GET", `/signing_keys/main/${kid}`, { headers });
        expect(body.value).toMatchObject({ private_key: "********", kid, authorization_server: "main" });
        expect(body.value.public_jwk).toMatchObject({ kid, use: "sig" });
      }
      expect(await stored(`/apisix/signing_keys/main/${kid}`)).not.toContain("PRIVATE KEY");
    }
    expect((await world.call("GET", "/signing_keys")).text).not.toContain("PRIVATE KEY");
    const again = await put("/authorization_servers/main", { issuer: `https://auth-${made}.example` });
    expect([again.status, again.body.signing_keys]).toEqual([200, undefined]);
  });

  test("takes its keys with it, and keeps its issuer while it has them", async () => {
    await put("/authorization_servers/gone", { issuer: issuer() });
    const moved = await put("/authorization_servers/gone", { issuer: issuer() });
    expect([moved.status, moved.body.error_msg]).toEqual([400, expect.stringContaining("issuer cannot be changed")]);
    expect((await world.call("DELETE", "/authorization_servers/gone")).status).toBe(200);
    expect((await world.call("GET", "/signing_keys")).text).not.toContain("/signing_keys/gone/");
  });

  test("takes its keys with it when a rollback takes it away", async () => {
    await put("/routes/before", { uri: "/before" });
    const { body } = await world.call("GET", "/history?page_size=1&page=1");
    await put("/authorization_servers/undone", { issuer: issuer() });
    expect((await world.call("GET", "/signing_keys")).text).toContain("/signing_keys/undone/");
    const answer = await world.call("POST", `/history/${body.list[0].revision}/rollback`);
    expect([answer.status, answer.body.error_msg]).toEqual([200, undefined]);
    expect((await world.call("GET", "/signing_keys")).text).not.toContain("/signing_keys/undone/");
  });

  test("shares its issuer with no other record of either kind", async () => {
    const shared = issuer();
    await put("/token_issuers/idp", { issuer: shared });
    const answer = await put("/authorization_servers/two", { issuer: shared });
    expect(answer.body.error_msg).toBe(`issuer ${shared} is already that of token_issuers/idp`);
  });

  test("that nodes would refuse is not stored", async () => {
    const answer = await put("/authorization_servers/bad", { issuer: "https://a.example/" });
    expect([answer.status, answer.body.error_msg]).toEqual([
      400,
      "invalid configuration: issuer ends with a slash: leave it away, as it is compared byte for byte",
    ]);
  });
});

describe("rotation", () => {
  test("by hand makes a key that signs after jwks_max_age, and names who retires", async () => {
    const { body } = await put("/authorization_servers/hand", { issuer: issuer() });
    const [{ kid }] = body.signing_keys;
    const answer = await world.call("POST", "/authorization_servers/hand/rotate?algorithm=ES256");
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ algorithm: "ES256", retiring: kid });
    expect(answer.body.next).toMatch(/^[\w-]{43}$/);
    const former = (await world.call("GET", `/signing_keys/hand/${kid}`)).body.value;
    expect(former.sign_until).toBe(answer.body.sign_from);
    expect(former.verify_until).toBe(answer.body.verify_until);
    const again = await world.call("POST", "/authorization_servers/hand/rotate");
    expect(again.body.next).toBe(answer.body.next);
  });

  test("in an emergency revokes all others", async () => {
    const { body } = await put("/authorization_servers/fire", { issuer: issuer() });
    const answer = await world.call("POST", "/authorization_servers/fire/rotate?emergency=1");
    expect(answer.body.revoked).toEqual([body.signing_keys[0].kid]);
    const former = (await world.call("GET", `/signing_keys/fire/${answer.body.revoked[0]}`)).body.value;
    expect(former.revoked_at).toBe(answer.body.sign_from);
  });

  test("that a revocation of the kid brings is that of an emergency, for this key alone", async () => {
    const name = issuer();
    const { body } = await put("/authorization_servers/leak", { issuer: name, algorithms: ["ES256", "EdDSA"] });
    const [{ kid }, { kid: other }] = body.signing_keys;
    const revoke = (one: string) => world.call("POST", "/revocations", { body: { issuer: name, kid: one } });
    const answer = await revoke(kid);
    expect(answer.status).toBe(200);
    const [{ next }] = answer.body.signing_keys;
    expect(answer.body.signing_keys).toEqual([{ authorization_server: "leak", kid, next }]);
    const read = async (one: string) => (await world.call("GET", `/signing_keys/leak/${one}`)).body.value;
    const made = await read(next);
    expect(made).toMatchObject({ algorithm: "ES256", publish_at: made.sign_from });
    expect(await read(kid)).toMatchObject({ revoked_at: made.sign_from });
    expect(await read(other)).not.toHaveProperty("revoked_at");
    const published = openSigningKeys(systemClock);
    published.setServer("leak", { issuer: name });
    const opened = async (one: string) => ({ ...(await read(one)), private_key: await makeKeyPem("ES256") });
    for (const one of [kid, next]) published.setKey(`leak/${one}`, await opened(one));
    expect(published.get("leak")?.signer("ES256")?.kid).toBe(next);
    expect(published.issuer("leak")?.keys("ES256", kid)).toBe("unknown_kid");

    expect((await revoke(kid)).body.signing_keys).toBeUndefined();
    await world.call("DELETE", `/revocations/${answer.body.rules[0].name}`);
    expect(await read(kid)).toHaveProperty("revoked_at");
    const elsewhere = await world.call("POST", "/revocations", { body: { issuer: issuer(), kid: other } });
    expect(elsewhere.body.signing_keys).toBeUndefined();
    expect(await read(other)).not.toHaveProperty("revoked_at");
    const spare = (await world.call("POST", "/authorization_servers/leak/rotate?algorithm=EdDSA")).body.next;
    expect((await revoke(spare)).body.signing_keys).toEqual([{ authorization_server: "leak", kid: spare, next: null }]);
  });

  test("says what is wrong with what it was asked", async () => {
    expect((await world.call("POST", "/authorization_servers/none/rotate")).status).toBe(404);
    const answer = await world.call("POST", "/authorization_servers/main/rotate?algorithm=RS256");
    expect(answer.body.error_msg).toBe("invalid argument algorithm: should be one of ES256");
    expect((await world.call("POST", "/authorization_servers/main/rotate?emergency=yes")).status).toBe(400);
  });
});

describe("a key of one's own", () => {
  test("is put under its thumbprint, and what is read can be put back", async () => {
    await put("/authorization_servers/own", { issuer: issuer() });
    const pem = await makeKeyPem("ES256");
    const { kid } = readKeyPair("ES256", pem);
    const wrong = await put(`/signing_keys/own/${"a".repeat(43)}`, { algorithm: "ES256", private_key: pem });
    expect(wrong.body.error_msg).toBe(
      `invalid configuration: kid is not the thumbprint of private_key (RFC 7638): put it under own/${kid}`,
    );
    const answer = await put(`/signing_keys/own/${kid}`, { algorithm: "ES256", private_key: pem });
    expect([answer.status, answer.body.value.private_key]).toEqual([201, "********"]);
    const own = (await world.call("GET", "/authorization_servers/own")).body.value.issuer;
    await world.call("POST", "/revocations", { body: { issuer: own, kid } });
    const revived = await put(`/signing_keys/own/${kid}`, { algorithm: "ES256", private_key: pem });
    expect(revived.body.value).toHaveProperty("revoked_at");
    const { value } = (await world.call("GET", `/signing_keys/own/${kid}`)).body;
    expect(value.sign_from).toBe(value.publish_at + 300);
    expect((await put(`/signing_keys/own/${kid}`, value)).status).toBe(200);
    const after = (await world.call("GET", `/signing_keys/own/${kid}`)).body.value;
    expect({ ...after, update_time: 0 }).toEqual({ ...value, update_time: 0 });
    expect(await everything()).not.toContain("PRIVATE KEY");
  });

  test("needs its authorization server", async () => {
    const pem = await makeKeyPem("ES256");
    const { kid } = readKeyPair("ES256", pem);
    const answer = await put(`/signing_keys/nobody/${kid}`, { algorithm: "ES256", private_key: pem });
    expect([answer.status, answer.body.error_msg]).toEqual([404, "authorization server nobody not found"]);
  });
});

describe("a client", () => {
  const client = (more: object = {}) => ({ plugins: { "oauth2-client": { client_id: `c${++made}`, ...more } } });
  const path = "/consumers/shop/credentials/batch";

  test("gets a secret that is shown once and stored as a sealed hash only", async () => {
    await put("/consumers/shop", { username: "shop" });
    const body = client({ scope: "orders.read" });
    const answer = await put(path, body);
    const secret: string = answer.body.generated.client_secret;
    expect(secret).toMatch(/^[\w-]{43}$/);
    const read = await world.call("GET", path);
    expect(read.text).not.toMatch(/hash|sha256/);
    expect(read.body.value.plugins["oauth2-client"].client_secrets).toEqual([{ created: expect.any(Number) }]);
    const before = JSON.parse(await stored("/apisix/consumers/shop/credentials/batch"));
    expect(JSON.stringify(before)).not.toContain("sha256:");
    for (const again of [read.body.value, body]) {
      const kept = await put(path, again);
      expect([kept.status, kept.body.generated]).toEqual([200, undefined]);
      expect((await world.call("GET", path)).body.value.plugins).toEqual(read.body.value.plugins);
    }
    expect(await everything()).not.toContain(secret);
  });

  test("has up to four secrets at once, and loses all former ones with overlap=0", async () => {
    await put("/consumers/shop", { username: "shop" });
    await put(path, client());
    for (let n = 0; n < 3; n++) {
      const answer = await world.call("POST", `${path}/rotate`);
      expect(answer.body.generated.client_secret).toMatch(/^[\w-]{43}$/);
      expect(answer.body.previous_keys).toHaveLength(n + 1);
    }
    const fifth = await world.call("POST", `${path}/rotate`);
    expect([fifth.status, fifth.body.error_msg]).toEqual([
      400,
      "oauth2-client: 4 secrets are still taken: wait until one has ended, or rotate with overlap=0",
    ]);
    expect((await world.call("POST", `${path}/rotate?overlap=0`)).body.previous_keys).toEqual([]);
  });

  test.each([
    [
      { client_secret: "short" },
      "client_secret has 5 characters, at least 16 are needed: leave it out and one is made",
    ],
    [{ scope: "a  b" }, /scope/],
    [{ default_scope: "b", scope: "a" }, "default_scope b is not in scope"],
    [{ claims: { iss: "x" } }, "claims must not hold iss: it is set by the authorization server"],
    [{ claims: { x: "y".repeat(3_000) } }, /^.*claims are 3008 bytes, at most 2048 go into a token/],
    [{ jwks: {} }, 'jwks: no member "keys"'],
    [{ token_endpoint_auth_method: "none" }, /token_endpoint_auth_method/],
  ])("%j is refused, and said why", async (more, text) => {
    const answer = await put(path, client(more));
    expect(answer.status).toBe(400);
    if (typeof text === "string") expect(answer.body.error_msg).toContain(text);
    else expect(answer.body.error_msg).toMatch(text);
  });
});

test("strict refuses to store keys without a keyring", async () => {
  const strict = await openAdminWorld({ catalog: catalogOf(openPluginRegistry(plugins), { compat: "strict" }) });
  try {
    const answer = await strict.call("PUT", "/authorization_servers/main", { body: { issuer: "https://a.example" } });
    expect(answer.body.error_msg).toBe("signing keys need a keyring: set encryption.keyring");
  } finally {
    await strict.close();
  }
});
