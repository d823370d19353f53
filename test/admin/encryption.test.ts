/**
 * Secrets at rest: what lies in the store, what clients are shown, and what becomes of it when it is written again.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { keyringCodec } from "../../src/admin/sealing/keyring-codec.ts";
import { openKeyring, type SealFormat } from "../../src/base/keyring.ts";
import { readRecord } from "../../src/model/record.ts";
import { basicAuth } from "../../src/plugins/basic-auth.ts";
import { hmacAuth } from "../../src/plugins/hmac-auth.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { proxyRewrite } from "../../src/plugins/proxy-rewrite/proxy-rewrite.ts";
import { declaredMembersOf, openFields, pluginFieldsOf } from "../../src/runtime/field-opener.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { prefixRange } from "../../src/store/store.ts";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { contents, openTemporaryStore, put, type TemporaryStore, write } from "../support/stores.ts";
import { until } from "../support/until.ts";

const KEY = "0123456789abcdef";
const NEW_KEY = "fedcba9876543210";
const SECRET = "the-very-secret-text-of-jack-0123456789";
const plugins = [jwtAuth, keyAuth, basicAuth, hmacAuth, limitCount, proxyRewrite];
const registry = openPluginRegistry(plugins);
const nodes = { "127.0.0.1:80": 1 };

let under: TemporaryStore;
let world: AdminWorld;
beforeEach(async () => {
  under = await openTemporaryStore();
  world = await openWith([KEY]);
});
afterEach(async () => {
  await world.close();
  await under.stop();
});

function openWith(keys: readonly string[], format: SealFormat = "gcm"): Promise<AdminWorld> {
  const codec = keys.length === 0 ? {} : { codec: codecOf(keys, format) };
  return openAdminWorld({ store: under.store, plugins, ...codec });
}

function codecOf(keys: readonly string[], format: SealFormat) {
  return keyringCodec(openKeyring(keys, format), pluginFieldsOf(registry), "/apisix", declaredMembersOf(registry));
}

/** Another admin on the same store. */
async function reopen(keys: readonly string[], format?: SealFormat): Promise<void> {
  await world.close();
  world = await openWith(keys, format);
}

const call = async (method: string, path: string, body?: object) => {
  const reply = await world.call(method, path, { body });
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.text}`);
  return reply.body;
};
const everything = async (): Promise<string> =>
  [...(await contents(under.store, { start: "\0", end: "~" }))].map((entry) => entry.join(" ")).join("\n");
const storedText = async (key: string): Promise<string> => (await under.store.get(key)).kv?.value.toString() ?? "";
/** As a gateway node with this keyring reads it. */
const served = async (id: string, keys = [KEY], format: SealFormat = "gcm") => {
  const open = openFields(openKeyring(keys, format), registry, "/apisix");
  return open({ kind: "consumer", id }, JSON.parse(await storedText(`/apisix/consumers/${id}`)));
};

const jack = (secret = SECRET) => ({ username: "jack", plugins: { "jwt-auth": { key: "jack-key", secret } } });

const WRITES: (readonly [string, object])[] = [
  ["/consumers/jack", jack()],
  ["/consumers/kim", { username: "kim", plugins: { "key-auth": { key: SECRET } } }],
  ["/consumers/bo", { username: "bo", plugins: { "basic-auth": { username: "bo", password: SECRET } } }],
  ["/consumers/hy", { username: "hy", plugins: { "hmac-auth": { key_id: "hy", secret_key: SECRET } } }],
  ["/consumers/jack/credentials/c", { plugins: { "key-auth": { key: `${SECRET}-c` } } }],
  ["/routes/limited", { uri: "/a", upstream: { nodes }, plugins: { "limit-count": redis() } }],
  ["/ssls/1", { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY, certs: [CERTIFICATE], keys: [PRIVATE_KEY] }],
  ["/upstreams/tls", { nodes, tls: { client_cert: CERTIFICATE, client_key: PRIVATE_KEY } }],
  ["/routes/tls", { uri: "/b", upstream: { nodes, tls: { client_cert: CERTIFICATE, client_key: PRIVATE_KEY } } }],
  ["/secrets/vault/1", { uri: "http://127.0.0.1:8200", prefix: "kv", token: SECRET }],
  ["/secrets/aws/1", { access_key_id: "id", secret_access_key: SECRET, session_token: SECRET }],
];

/** Secrets that no plugin declares. */
const named = {
  checks: { active: { http_path: `/h?api_key=${SECRET}`, req_headers: [`Cookie: a=${SECRET}`, "X-Team: blue"] } },
};
WRITES.push(
  ["/upstreams/named", { nodes, ...named }],
  [
    "/routes/named",
    {
      uri: "/c",
      upstream: { nodes, ...named },
      plugins: { "proxy-rewrite": { uri: `/x?token=${SECRET}`, headers: { set: { "X-Auth": SECRET } } } },
    },
  ],
);

function redis(): object {
  return { count: 1, time_window: 1, policy: "redis", redis_host: "127.0.0.1", redis_password: SECRET };
}

describe("nothing secret lies plainly in the store", () => {
  test("of any kind, in records, index or history, after it was written, changed and deleted", async () => {
    for (const [path, body] of WRITES) await call("PUT", path, body);
    for (const [path, body] of WRITES) await call("PUT", path, body);
    await call("PATCH", "/routes/limited", { desc: "x" });
    expect((await world.call("PATCH", "/secrets/vault/1/prefix", { body: '"kv2"' })).status).toBe(200);
    let dump = await everything();
    expect(dump).toContain("jotgate:1:");
    for (const secret of [SECRET, "PRIVATE KEY"]) expect(dump).not.toContain(secret);
    for (const [path] of [...WRITES].reverse()) await world.call("DELETE", path);
    dump = await everything();
    for (const secret of [SECRET, "PRIVATE KEY"]) expect(dump).not.toContain(secret);
  });

  test("those that only a name tells are read and used as they were, and stay sealed under a new key", async () => {
    await call("PUT", "/upstreams/named", { nodes, ...named });
    const stored = await storedText("/apisix/upstreams/named");
    expect(stored).toContain("X-Team: blue");
    const asServed = (text: string, keys = [KEY]): unknown =>
      openFields(openKeyring(keys, "gcm"), registry, "/apisix")({ kind: "upstream", id: "named" }, JSON.parse(text));
    expect(asServed(stored)).toMatchObject(named);
    expect(readRecord({ kind: "upstream", id: "named" }, stored)).toMatchObject({ ok: true });
    expect((await call("GET", "/upstreams/named")).value).toMatchObject(named);
    await reopen([NEW_KEY, KEY]);
    expect(await call("POST", "/encryption/reseal")).toMatchObject({ resealed: 1, failed: [] });
    expect(asServed(await storedText("/apisix/upstreams/named"), [NEW_KEY])).toMatchObject(named);
  });

  test("identifying values are indexed by a digest that needs the key", async () => {
    await call("PUT", "/consumers/kim", { username: "kim", plugins: { "key-auth": { key: SECRET } } });
    const index = await contents(under.store, prefixRange("/apisix-jotgate/unique/"));
    expect([...index.keys()]).toEqual([expect.stringMatching(/key-auth\/[0-9a-f]{8}-[0-9a-f]{64}$/)]);
    const again = await world.call("PUT", "/consumers", {
      body: { username: "lee", plugins: { "key-auth": { key: SECRET } } },
    });
    expect(again.body.error_msg).toBe("duplicate key of plugin key-auth found with consumer: kim");
  });

  test("references are no secrets and stay readable", async () => {
    await call("PUT", "/consumers/jack", jack("$secret://vault/1/jack/secret"));
    expect(await storedText("/apisix/consumers/jack")).toContain("$secret://vault/1/jack/secret");
  });
});

describe("what clients are shown", () => {
  beforeEach(async () => {
    for (const [path, body] of WRITES) await call("PUT", path, body);
  });

  test("admins read secrets of plugins and managers, alone and in lists", async () => {
    expect((await call("GET", "/consumers/jack")).value.plugins["jwt-auth"].secret).toBe(SECRET);
    expect((await call("GET", "/secrets/vault/1")).value.token).toBe(SECRET);
    expect(JSON.stringify((await call("GET", "/consumers")).list)).toContain(SECRET);
  });

  test("viewers never do", async () => {
    const lists = ["consumers", "consumers/jack/credentials", "routes", "ssls", "upstreams", "secrets", "history"];
    for (const list of lists) {
      const { status, text } = await world.call("GET", `/${list}`, { headers: { "X-API-KEY": VIEWER_KEY } });
      expect(status).toBe(200);
      for (const secret of [SECRET, "PRIVATE KEY", "jotgate:1:"]) expect(text, list).not.toContain(secret);
    }
  });

  test("private keys are shown to nobody", async () => {
    for (const path of ["/ssls", "/ssls/1", "/upstreams", "/upstreams/tls", "/routes", "/routes/tls"]) {
      expect((await world.call("GET", path)).text).not.toContain("PRIVATE KEY");
    }
  });

  test("writes answer with what is stored", async () => {
    const { value } = await call("PUT", "/consumers/jack", jack());
    expect(value.plugins["jwt-auth"].secret).toMatch(/^jotgate:1:/);
  });
});

describe("writing again", () => {
  test("a PATCH never seals twice", async () => {
    await call("PUT", "/consumers/jack", jack());
    await call("PUT", "/routes/limited", { uri: "/a", upstream: { nodes }, plugins: { "limit-count": redis() } });
    for (let n = 0; n < 3; n++) await call("PATCH", "/routes/limited", { desc: `${n}` });
    expect((await call("GET", "/routes/limited")).value.plugins["limit-count"].redis_password).toBe(SECRET);
    const open = openFields(openKeyring([KEY], "gcm"), registry, "/apisix");
    const { plugins: stored } = open(
      { kind: "route", id: "limited" },
      JSON.parse(await storedText("/apisix/routes/limited")),
    );
    expect(stored).toMatchObject({ "limit-count": { redis_password: SECRET } });
  });

  test.each(["gcm", "aes-cbc"] as const)("what a write answered can be sent back as it is (%s)", async (format) => {
    await reopen([KEY], format);
    for (const [path, body] of WRITES) {
      const first = await call("PUT", path, body);
      const { create_time: _, update_time: __, ...value } = first.value;
      await call("PUT", path, value);
    }
    expect((await call("GET", "/consumers/jack")).value.plugins["jwt-auth"].secret).toBe(SECRET);
    expect((await call("GET", "/secrets/vault/1")).value.token).toBe(SECRET);
    const open = openFields(openKeyring([KEY], format), registry, "/apisix");
    const ssl = open({ kind: "ssl", id: "1" }, JSON.parse(await storedText("/apisix/ssls/1")));
    expect(ssl).toMatchObject({ key: PRIVATE_KEY, keys: [PRIVATE_KEY] });
  });

  test("what was read can be sent back as it is, client keys included", async () => {
    await call("PUT", "/upstreams/tls", { nodes, tls: { client_cert: CERTIFICATE, client_key: PRIVATE_KEY } });
    const { create_time: _, update_time: __, ...value } = (await call("GET", "/upstreams/tls")).value;
    expect(value.tls.client_key).toMatch(/^jotgate:1:/);
    await call("PUT", "/upstreams/tls", value);
    await call("PATCH", "/upstreams/tls", { desc: "x" });
    const open = openFields(openKeyring([KEY], "gcm"), registry, "/apisix");
    const stored = open({ kind: "upstream", id: "tls" }, JSON.parse(await storedText("/apisix/upstreams/tls")));
    expect(stored["tls"]).toMatchObject({ client_key: PRIVATE_KEY });
  });

  test("a sealed text is worth nothing in another record or another member", async () => {
    const { value } = await call("PUT", "/consumers/jack", jack());
    const stolen = value.plugins["jwt-auth"].secret;
    for (const body of [
      { username: "eve", plugins: { "jwt-auth": { key: "eve-key", secret: stolen } } },
      { username: "jack", plugins: { "jwt-auth": { key: "jack-key", secret: "other" }, "key-auth": { key: stolen } } },
    ]) {
      const reply = await world.call("PUT", "/consumers", { body });
      expect(reply).toMatchObject({ status: 400, body: { error_msg: expect.stringContaining("sealed") } });
    }
  });

  test("a generated secret is sealed, and kept on the next PUT", async () => {
    const bare = { username: "jack", plugins: { "jwt-auth": { key: "jack-key" } } };
    await call("PUT", "/consumers", bare);
    const first = (await call("GET", "/consumers/jack")).value.plugins["jwt-auth"].secret;
    expect(await everything()).not.toContain(first);
    await call("PUT", "/consumers", bare);
    expect((await call("GET", "/consumers/jack")).value.plugins["jwt-auth"].secret).toBe(first);
    expect(await served("jack")).toMatchObject({ plugins: { "jwt-auth": { secret: first } } });
  });

  test("a rollback brings the secret back, sealed", async () => {
    await call("PUT", "/consumers", jack());
    const { revision } = (await call("GET", "/history")).list[0];
    await call("PUT", "/consumers", jack("another-secret-of-some-length"));
    await call("POST", `/history/${revision}/rollback`);
    expect((await call("GET", "/consumers/jack")).value.plugins["jwt-auth"].secret).toBe(SECRET);
    expect(await everything()).not.toContain(SECRET);
  });
});

describe("keyrings change", () => {
  const secretNow = async () => (await call("GET", "/consumers/jack")).value.plugins["jwt-auth"].secret;

  test("without one before: plain records are read, and sealed when written", async () => {
    await reopen([]);
    await call("PUT", "/consumers", jack());
    expect(await everything()).toContain(SECRET);
    await reopen([KEY]);
    expect(await secretNow()).toBe(SECRET);
    await call("PUT", "/consumers", jack());
    expect(await storedText("/apisix/consumers/jack")).not.toContain(SECRET);
  });

  test("a new first key seals, the old one still opens; uniqueness holds across both", async () => {
    await call("PUT", "/consumers", jack());
    await reopen([NEW_KEY, KEY]);
    expect(await secretNow()).toBe(SECRET);
    const thief = { username: "eve", plugins: { "jwt-auth": { key: "jack-key", secret: "s" } } };
    expect((await world.call("PUT", "/consumers", { body: thief })).status).toBe(400);
    await call("PUT", "/consumers", jack());
    await reopen([NEW_KEY]);
    expect(await secretNow()).toBe(SECRET);
    expect(await served("jack", [NEW_KEY])).toMatchObject({ plugins: { "jwt-auth": { secret: SECRET } } });
  });

  test("digests that nobody makes any more leave the index", async () => {
    await reopen([]);
    await call("PUT", "/consumers", jack());
    const plain = [...(await contents(under.store, prefixRange("/apisix-jotgate/unique/"))).keys()];
    await reopen([KEY]);
    await until(async () => {
      const now = [...(await contents(under.store, prefixRange("/apisix-jotgate/unique/"))).keys()];
      return now.length === 1 && now[0] !== plain[0];
    }, "the index is made anew");
    const thief = { username: "eve", plugins: { "jwt-auth": { key: "jack-key", secret: "s" } } };
    expect((await world.call("PUT", "/consumers", { body: thief })).status).toBe(400);
  });

  test("a wrong one refuses to touch what it cannot read, and breaks nothing", async () => {
    await call("PUT", "/consumers", jack());
    await call("PUT", "/routes/limited", { uri: "/a", upstream: { nodes }, plugins: { "limit-count": redis() } });
    const before = await storedText("/apisix/routes/limited");
    await reopen([NEW_KEY]);
    const reply = await world.call("PATCH", "/routes/limited", { body: { desc: "x" } });
    expect(reply).toMatchObject({
      status: 400,
      body: { error_msg: "plugins.limit-count.redis_password is sealed with another key, or for another record" },
    });
    expect(await storedText("/apisix/routes/limited")).toBe(before);
    const patch = { plugins: { "limit-count": { redis_password: "new-password" } } };
    expect((await world.call("PATCH", "/routes/limited", { body: patch })).status).toBe(200);
    expect((await world.call("DELETE", "/consumers/jack")).status).toBe(200);
  });

  test("without any, sealed records are shown as they lie and never written as secrets", async () => {
    await call("PUT", "/consumers", jack());
    const sealed = JSON.parse(await storedText("/apisix/consumers/jack")).plugins["jwt-auth"].secret;
    await reopen([]);
    expect(await secretNow()).toBe(sealed);
    expect((await world.call("PUT", "/consumers", { body: jack(sealed) })).status).toBe(400);
  });
});

describe("an etcd shared with APISIX", () => {
  const APISIX = "qeddd145sfvddff3";
  beforeEach(() => reopen([APISIX], "aes-cbc"));

  test("what we write is what APISIX would have written", async () => {
    const body = { username: "bo", plugins: { "basic-auth": { username: "bo", password: "the-password" } } };
    await call("PUT", "/consumers", body);
    const stored = JSON.parse(await storedText("/apisix/consumers/bo"));
    expect(stored.plugins["basic-auth"]).toEqual({ username: "bo", password: "WvF5kpaLvIzjuk4GNIMTJg==" });
    expect((await call("GET", "/consumers/bo")).value.plugins["basic-auth"].password).toBe("the-password");
  });

  test("what APISIX wrote is read, also with our own format for new values", async () => {
    const theirs = {
      username: "bo",
      plugins: { "basic-auth": { username: "bo", password: "WvF5kpaLvIzjuk4GNIMTJg==" } },
    };
    await write(under.store, put("/apisix/consumers/bo", theirs));
    for (const format of ["aes-cbc", "gcm"] as const) {
      await reopen([APISIX], format);
      expect((await call("GET", "/consumers/bo")).value.plugins["basic-auth"].password).toBe("the-password");
      expect(await served("bo", [APISIX], format)).toMatchObject({
        plugins: { "basic-auth": { password: "the-password" } },
      });
    }
  });

  test("secret managers stay as APISIX reads them", async () => {
    await call("PUT", "/secrets/vault/1", { uri: "http://127.0.0.1:8200", prefix: "kv", token: SECRET });
    expect(await storedText("/apisix/secrets/vault/1")).toContain(SECRET);
  });

  test("a PATCH of a record that APISIX wrote seals once", async () => {
    const theirs = {
      id: "1",
      uri: "/a",
      upstream: { nodes },
      plugins: { "limit-count": { ...redis(), redis_password: "WvF5kpaLvIzjuk4GNIMTJg==" } },
    };
    await write(under.store, put("/apisix/routes/1", theirs));
    await call("PATCH", "/routes/1", { desc: "x" });
    expect(JSON.parse(await storedText("/apisix/routes/1")).plugins["limit-count"].redis_password).toBe(
      "WvF5kpaLvIzjuk4GNIMTJg==",
    );
  });

  test("a sealed text of another record does not show what it hides", async () => {
    const { value } = await call("PUT", "/ssls/1", { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY });
    await call("PUT", "/consumers", { username: "eve", plugins: { "key-auth": { key: value.key } } });
    expect((await world.call("GET", "/consumers/eve")).text).not.toContain("PRIVATE KEY");
  });
});
