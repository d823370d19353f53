/**
 * Re-sealing: all secrets come under the first key and the format of the keyring, and nothing else happens.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { keyringCodec } from "../../src/admin/sealing/keyring-codec.ts";
import { CodedError } from "../../src/base/errors.ts";
import { openKeyring, type SealFormat } from "../../src/base/keyring.ts";
import { parseKey } from "../../src/model/keys.ts";
import { basicAuth } from "../../src/plugins/basic-auth.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { declaredMembersOf, openFields, pluginFieldsOf } from "../../src/runtime/field-opener.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { prefixRange, type Store, type Txn } from "../../src/store/store.ts";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { contents, openTemporaryStore, put, type TemporaryStore, write } from "../support/stores.ts";

const OLD = "0123456789abcdef";
const NEW = "fedcba9876543210";
const SECRET = "the-very-secret-text-of-jack-0123456789";
const plugins = [jwtAuth, keyAuth, basicAuth, limitCount];
const registry = openPluginRegistry(plugins);
const nodes = { "127.0.0.1:80": 1 };
const tls = { client_cert: CERTIFICATE, client_key: PRIVATE_KEY };

let under: TemporaryStore;
let world: AdminWorld;
beforeEach(async () => {
  under = await openTemporaryStore();
});
afterEach(async () => {
  await world.close();
  await under.stop();
});

/** An admin on the same store, after the one before. */
async function open(keys: readonly string[], format: SealFormat = "gcm", store: Store = under.store): Promise<void> {
  await world?.close();
  const codec =
    keys.length === 0
      ? undefined
      : keyringCodec(openKeyring(keys, format), fields, "/apisix", declaredMembersOf(registry));
  world = await openAdminWorld({ store, plugins, ...(codec && { codec }) });
}
const fields = pluginFieldsOf(registry);

const call = async (method: string, path: string, body?: object) => {
  const reply = await world.call(method, path, { body });
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.text}`);
  return reply.body;
};
const reseal = (query = "") => call("POST", `/encryption/reseal${query}`);
const everything = async (): Promise<string> =>
  [...(await contents(under.store, { start: "\0", end: "~" }))].map((entry) => entry.join(" ")).join("\n");
const storedText = async (key: string): Promise<string> => (await under.store.get(key)).kv?.value.toString() ?? "";

/** Every record as a gateway with this keyring reads it, by key. */
async function opened(keys: readonly string[], format: SealFormat = "gcm"): Promise<Map<string, unknown>> {
  const openRecord = openFields(keys.length === 0 ? undefined : openKeyring(keys, format), registry, "/apisix");
  const records = new Map<string, unknown>();
  for await (const page of under.store.list(prefixRange("/apisix/"))) {
    for (const { key, value } of page.kvs) {
      const parsed = parseKey("/apisix", key);
      if (parsed) records.set(key, openRecord(parsed, JSON.parse(value.toString())));
    }
  }
  return records;
}

const jack = (secret = SECRET) => ({ username: "jack", plugins: { "jwt-auth": { key: "jack-key", secret } } });
const redis = { count: 1, time_window: 1, policy: "redis", redis_host: "127.0.0.1", redis_password: SECRET };

/** Ten records hold secrets, two do not. */
const WRITES: readonly (readonly [string, object])[] = [
  ["/consumers/jack", jack()],
  ["/consumers/kim", { username: "kim", plugins: { "key-auth": { key: SECRET } } }],
  ["/consumers/bo", { username: "bo", plugins: { "basic-auth": { username: "bo", password: SECRET } } }],
  ["/consumers/jack/credentials/c", { plugins: { "key-auth": { key: `${SECRET}-c` } } }],
  ["/routes/limited", { uri: "/a", upstream: { nodes }, plugins: { "limit-count": redis } }],
  ["/ssls/1", { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY, certs: [CERTIFICATE], keys: [PRIVATE_KEY] }],
  ["/upstreams/tls", { nodes, tls }],
  ["/routes/tls", { uri: "/b", upstream: { nodes, tls } }],
  ["/secrets/vault/1", { uri: "http://127.0.0.1:8200", prefix: "kv", token: SECRET }],
  ["/secrets/aws/1", { access_key_id: "id", secret_access_key: SECRET, session_token: SECRET }],
  ["/routes/plain", { uri: "/c", upstream: { nodes } }],
  ["/consumers/ref", { username: "ref", plugins: { "key-auth": { key: "$secret://vault/1/ref/key" } } }],
];
const writeAll = async (): Promise<void> => {
  for (const [path, body] of WRITES) await call("PUT", path, body);
};
const RESTORE = prefixRange("/apisix-jotgate/restore/");
const DONE = { total: 12, resealed: 10, unchanged: 2, failed: [] };
const NOTHING = { total: 12, resealed: 0, unchanged: 12, failed: [] };

describe("everything comes under the first key", () => {
  test.each([
    { says: "a keyring where there was none", from: [], to: [NEW] },
    { says: "a new first key", from: [OLD], to: [NEW, OLD] },
    { says: "a new first key, from APISIX's format", from: [OLD], fromFormat: "aes-cbc", to: [NEW, OLD] },
  ] as const)("$says", async ({ from, to, ...formats }) => {
    const fromFormat = "fromFormat" in formats ? formats.fromFormat : "gcm";
    await open(from, fromFormat);
    await writeAll();
    const before = await opened(from, fromFormat);
    await open(to);
    expect(await reseal()).toMatchObject(DONE);
    expect(await opened([NEW])).toEqual(before);
    const dump = await everything();
    for (const secret of [SECRET, "PRIVATE KEY"]) expect(dump).not.toContain(secret);
    await open([NEW]);
    expect((await call("GET", "/consumers/jack")).value.plugins["jwt-auth"].secret).toBe(SECRET);
    expect(await reseal()).toMatchObject({ ...NOTHING, history: { resealed: 0 } });
  });

  test("into APISIX's format, where secret managers lie as APISIX reads them, and back", async () => {
    await open([OLD]);
    await writeAll();
    const before = await opened([OLD]);
    await open([NEW, OLD], "aes-cbc");
    expect(await reseal()).toMatchObject(DONE);
    expect(await storedText("/apisix/secrets/vault/1")).toContain(SECRET);
    expect(await everything()).not.toContain("jotgate:1:");
    expect(await opened([NEW], "aes-cbc")).toEqual(before);
    expect(await reseal()).toMatchObject(NOTHING);
    await open([NEW]);
    expect(await reseal()).toMatchObject(DONE);
    expect(await opened([NEW])).toEqual(before);
  });

  test("more records than a page, some of them under the new key already", async () => {
    await open([OLD]);
    const values = Array.from({ length: 230 }, (_, n) => ({ key: `key-of-${n}` }));
    for (const [n, conf] of values.entries()) {
      await call("PUT", `/consumers/u${n}`, { username: `u${n}`, plugins: { "key-auth": conf } });
    }
    await open([NEW, OLD]);
    await call("PUT", "/consumers/u7", { username: "u7", plugins: { "key-auth": { key: "key-of-7" } } });
    expect(await reseal()).toMatchObject({ total: 230, resealed: 229, unchanged: 1, failed: [] });
    const now = await opened([NEW]);
    expect(now.size).toBe(230);
    for (const [n, conf] of values.entries()) {
      expect(now.get(`/apisix/consumers/u${n}`)).toMatchObject({ plugins: { "key-auth": conf } });
    }
  });
});

describe("nothing else changes", () => {
  test("a dry run counts the same and writes nothing", async () => {
    await open([OLD]);
    await writeAll();
    await open([NEW, OLD]);
    const now = async () => [await contents(under.store), await contents(under.store, RESTORE)];
    const before = await now();
    expect(await reseal("?dry_run=1")).toMatchObject({ dry_run: true, ...DONE });
    expect(await now()).toEqual(before);
    expect((await call("GET", "/history")).total).toBe(WRITES.length);
  });

  test("what holds no secret, or is sealed rightly, is not even written", async () => {
    await open([NEW]);
    await writeAll();
    const before = await contents(under.store);
    expect(await reseal()).toMatchObject(NOTHING);
    expect(await contents(under.store)).toEqual(before);
    expect((await call("GET", "/history")).total).toBe(WRITES.length);
  });

  test("a record keeps its lifetime", async () => {
    await open([OLD]);
    await call("PUT", "/consumers/jack?ttl=600", jack());
    const { kv: before } = await under.store.get("/apisix/consumers/jack");
    await open([NEW, OLD]);
    expect(await reseal()).toMatchObject({ total: 1, resealed: 1 });
    const { kv: after } = await under.store.get("/apisix/consumers/jack");
    expect(after?.lease).toBe(before?.lease);
    expect(after?.lease).not.toBe(0n);
  });

  test("what is no record, or no JSON object, is left alone", async () => {
    await open([OLD]);
    await write(under.store, put("/apisix/consumers/odd", "no json"), put("/apisix/consumers/list", "[1]"));
    const before = await contents(under.store);
    expect(await reseal()).toMatchObject({ total: 2, resealed: 0, unchanged: 2, failed: [] });
    expect(await contents(under.store)).toEqual(before);
  });
});

/** A store where others are faster: `between` runs before transactions that put a key of this directory. */
function raced(store: Store, between: (txn: Txn, nth: number) => Promise<void>, dir = "/apisix/consumers/"): Store {
  let nth = 0;
  const txn = async (one: Txn) => {
    if (one.then.some((operation) => operation.op === "put" && operation.key.startsWith(dir))) {
      await between(one, nth++);
    }
    return store.txn(one);
  };
  return new Proxy(store, {
    get: (target, name) => {
      if (name === "txn") return txn;
      const member: unknown = Reflect.get(target, name);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

describe("no update is lost", () => {
  test("a record that is written between reading and sealing keeps the newer value, sealed", async () => {
    await open([OLD]);
    for (const name of ["a", "b", "c"]) {
      await call("PUT", `/consumers/${name}`, { username: name, plugins: { "key-auth": { key: `key-${name}` } } });
    }
    const newer = { username: "b", desc: "newer", plugins: { "key-auth": { key: "key-newer" } } };
    // Before the three together, and twice more before b alone.
    let times = 0;
    const store = raced(under.store, async (txn, nth) => {
      const isAlone = txn.compare.length === 1 && txn.compare[0]?.key === "/apisix/consumers/b";
      if (nth !== 0 && !(isAlone && times++ < 2)) return;
      await write(under.store, put("/apisix/consumers/b", { ...newer, labels: { n: `${nth}` } }));
      if (nth === 0) await write(under.store, { op: "delete", key: "/apisix/consumers/c" });
    });
    await open([NEW, OLD], "gcm", store);
    expect(await reseal()).toMatchObject({ total: 2, resealed: 2, unchanged: 0, failed: [] });
    const now = await opened([NEW]);
    expect([...now.keys()]).toEqual(["/apisix/consumers/a", "/apisix/consumers/b"]);
    expect(now.get("/apisix/consumers/b")).toMatchObject(newer);
    expect(await storedText("/apisix/consumers/b")).not.toContain("key-newer");
  });

  test("writers and two runs at once: all they wrote is there, under the new key", async () => {
    await open([OLD]);
    const names = Array.from({ length: 40 }, (_, n) => `u${n}`);
    const consumer = (name: string, mark: string) => ({
      username: name,
      desc: mark,
      plugins: { "key-auth": { key: `key-${name}` } },
    });
    for (const name of names) await call("PUT", `/consumers/${name}`, consumer(name, "old"));
    await open([NEW, OLD]);
    const [one, two] = await Promise.all([
      reseal(),
      reseal(),
      ...names.map((name) => call("PUT", `/consumers/${name}`, consumer(name, `new-${name}`))),
    ]);
    for (const report of [one, two]) expect(report).toMatchObject({ total: 40, failed: [] });
    const now = await opened([NEW]);
    for (const name of names) expect(now.get(`/apisix/consumers/${name}`)).toMatchObject(consumer(name, `new-${name}`));
    expect(await reseal()).toMatchObject({ resealed: 0 });
  });

  test("a transaction whose outcome is unknown is looked at before anything is said", async () => {
    await open([OLD]);
    await call("PUT", "/consumers/jack", jack());
    let lost = 0;
    const store = raced(under.store, async (txn) => {
      if (lost++ > 0) return;
      await under.store.txn(txn);
      throw new CodedError("STORE_OUTCOME_UNKNOWN", { message: "the answer was lost" });
    });
    await open([NEW, OLD], "gcm", store);
    expect(await reseal()).toMatchObject({ total: 1, resealed: 1, unchanged: 0, failed: [] });
    expect(lost).toBe(1);
    expect((await opened([NEW])).get("/apisix/consumers/jack")).toMatchObject(jack());
  });
});

describe("what cannot be is said and left as it is", () => {
  test("records under a key that is gone fail, the others do not", async () => {
    await open([OLD]);
    await call("PUT", "/consumers/lost", { username: "lost", plugins: { "key-auth": { key: SECRET } } });
    await call("PUT", "/ssls/1", { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY });
    const lost = await storedText("/apisix/consumers/lost");
    await open(["another-key-of-the-ring"]);
    await call("PUT", "/consumers/jack", jack());
    const report = await reseal();
    expect(report).toMatchObject({ total: 3, resealed: 0, unchanged: 1 });
    expect(report.failed).toEqual([
      {
        key: "/apisix/consumers/lost",
        reason: expect.stringMatching(/^plugins\.key-auth\.key cannot be opened: .*not in the keyring/),
      },
      { key: "/apisix/ssls/1", reason: expect.stringMatching(/^key cannot be opened: .*not in the keyring/) },
    ]);
    expect(JSON.stringify(report)).not.toContain(SECRET);
    expect(await storedText("/apisix/consumers/lost")).toBe(lost);
  });

  test("a private key of APISIX's format that no key opens", async () => {
    await open([OLD], "aes-cbc");
    await call("PUT", "/ssls/1", { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY });
    await open([NEW]);
    expect(await reseal()).toMatchObject({
      failed: [{ key: "/apisix/ssls/1", reason: "key cannot be opened: no key of the keyring fits" }],
    });
  });

  test("other texts that look so are taken as plain, as gateways take them, with a warning", async () => {
    await open([]);
    const random = Buffer.from(SECRET.slice(0, 32)).toString("base64");
    await call("PUT", "/consumers/jack", jack(random));
    await open([NEW]);
    const report = await reseal();
    expect(report).toMatchObject({ resealed: 1, failed: [] });
    expect(report.warnings).toEqual([
      {
        code: "looks_sealed",
        key: "/apisix/consumers/jack",
        message: expect.stringContaining("plugins.jwt-auth.secret"),
      },
    ]);
    expect((await opened([NEW])).get("/apisix/consumers/jack")).toMatchObject(jack(random));
  });

  test("a secret of a plugin that this node has not loaded", async () => {
    await open([OLD]);
    const { value } = await call("PUT", "/consumers/jack", jack());
    const own = { "own-auth": { secret: value.plugins["jwt-auth"].secret } };
    await write(under.store, put("/apisix/consumers/own", { username: "own", plugins: own }));
    await open([NEW, OLD]);
    expect(await reseal()).toMatchObject({
      total: 2,
      resealed: 1,
      failed: [
        {
          key: "/apisix/consumers/own",
          reason: expect.stringContaining("plugins.own-auth.secret cannot be opened: it was sealed for another place"),
        },
      ],
    });
  });

  test("without a keyring there is nothing to do, and viewers may not", async () => {
    await open([]);
    const reply = await world.call("POST", "/encryption/reseal");
    expect(reply).toMatchObject({ status: 400, body: { error_msg: expect.stringContaining("no keyring") } });
    await open([NEW]);
    const asViewer = await world.call("POST", "/encryption/reseal?dry_run=1", { headers: { "X-API-KEY": VIEWER_KEY } });
    expect(asViewer.status).toBe(401);
    expect((await world.call("GET", "/encryption/reseal")).status).toBe(404);
    expect((await world.call("POST", "/encryption/reseal?dry_run=maybe")).status).toBe(400);
  });
});

describe("history and rollback", () => {
  test("a run is one entry, of no record", async () => {
    await open([OLD]);
    await writeAll();
    await open([NEW, OLD]);
    await reseal();
    const { total, list } = await call("GET", "/history?page_size=1");
    expect(total).toBe(WRITES.length + 1);
    expect(list[0]).toMatchObject({
      ...{ actor: "ops", method: "POST", path: "/apisix/admin/encryption/reseal", changes: [], resealed: 10 },
    });
  });

  test("going back to before it works with the old key gone, without a false word of changes by others", async () => {
    await open([OLD]);
    await writeAll();
    const { revision } = (await call("GET", "/history?page_size=1")).list[0];
    await call("PUT", "/consumers/jack", jack("another-secret-of-some-length"));
    await call("DELETE", "/consumers/kim");
    await open([NEW, OLD]);
    const { history } = await reseal();
    expect(history).toMatchObject({ total: WRITES.length + 2, resealed: 2 });
    await call("PUT", "/consumers/jack", jack("a-third-secret-after-the-run"));
    await open([NEW]);
    const answer = await call("POST", `/history/${revision}/rollback`);
    expect(answer.warnings).toEqual([]);
    expect(answer.changes.map(({ key }: { key: string }) => key).sort()).toEqual([
      "/apisix/consumers/jack",
      "/apisix/consumers/kim",
    ]);
    const now = await opened([NEW]);
    expect(now.get("/apisix/consumers/jack")).toMatchObject(jack());
    expect(now.get("/apisix/consumers/kim")).toMatchObject({ plugins: { "key-auth": { key: SECRET } } });
  });

  test("what others changed is still told apart from it", async () => {
    await open([OLD]);
    await writeAll();
    const { revision } = (await call("GET", "/history?page_size=1")).list[0];
    await write(under.store, put("/apisix/routes/plain", { id: "plain", uri: "/theirs", upstream: { nodes } }));
    await open([NEW, OLD]);
    await reseal();
    const answer = await call("POST", `/history/${revision}/rollback?dry_run=1`);
    expect(answer.warnings).toMatchObject([{ code: "changed_outside", key: "/apisix/routes/plain" }]);
  });

  test("an entry that would grow too large stays as it is, and the rest is done", async () => {
    await open([OLD]);
    await call("PUT", "/consumers/jack", jack());
    await call("PUT", "/consumers/jack", jack("another-secret-of-some-length"));
    const tooLarge = async () => {
      throw new CodedError("STORE_TOO_LARGE", { message: "too large" });
    };
    await open([NEW, OLD], "gcm", raced(under.store, tooLarge, "/apisix-jotgate/restore/"));
    expect(await reseal()).toMatchObject({ resealed: 1, history: { total: 2, resealed: 0, unchanged: 1 } });
  });

  test("entries from before the keyring keep no plain secret", async () => {
    await open([]);
    await call("PUT", "/consumers/jack", jack());
    await call("PUT", "/consumers/jack", jack("another-secret-of-some-length"));
    expect(await everything()).toContain(SECRET);
    await open([NEW]);
    expect(await reseal()).toMatchObject({ resealed: 1, history: { total: 2, resealed: 1, unchanged: 1 } });
    expect(await everything()).not.toContain(SECRET);
  });
});
