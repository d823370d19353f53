/**
 * What the etcd adapter says when etcd is away, full, closed to us, or silent.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { isCodedError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { type EtcdSettings, openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { prefixRange, type Store, type WatchEnd } from "../../src/store/store.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { startRelay } from "../support/relay.ts";
import { put, remove, write } from "../support/stores.ts";
import { until } from "../support/until.ts";

const open = (hosts: readonly string[], settings: Partial<EtcdSettings> = {}): Store =>
  openEtcdSource({ hosts, clock: systemClock, log: silentLog, ...settings }).open();

async function failure(promise: Promise<unknown>): Promise<string> {
  return await promise.then(
    () => "no error",
    (error) => (isCodedError(error) ? error.code : String(error)),
  );
}

function watchEnd(store: Store, prefix: string): Promise<WatchEnd> {
  const sink = { created: () => {}, batch: () => {}, progress: () => {} };
  return store.watch(prefixRange(prefix), 1n, sink, new AbortController().signal);
}

describe.skipIf(!etcdAvailable())("the etcd adapter in trouble", () => {
  let etcd: EtcdCluster;
  let store: Store;
  beforeAll(async () => {
    etcd = await startEtcd();
    store = open(etcd.endpoints);
  });
  afterAll(async () => {
    await store?.close();
    await etcd?.stop();
  });

  test("where nothing listens, a write is unavailable, not unknown", async () => {
    const away = open(["http://127.0.0.1:1"]);
    expect(await failure(write(away, put("a")))).toBe("STORE_UNAVAILABLE");
    expect(await failure(away.get("a"))).toBe("STORE_UNAVAILABLE");
    expect((await watchEnd(away, "/a/")).kind).toBe("broken");
    await away.close();
  });

  test("a dead member among several is passed over by calls that were not sent", async () => {
    const some = open(["http://127.0.0.1:1", ...etcd.endpoints, "http://127.0.0.1:2"]);
    for (let i = 0; i < 6; i++) expect(await write(some, put("/several", { i }))).toBeGreaterThan(0n);
    await some.close();
  });

  test("a long list is read in sections: each key once, in order, as it all was at one revision", async () => {
    const keys = Array.from({ length: 32_000 }, (_, i) => `/long/${String(i).padStart(6, "0")}`);
    for (let i = 0; i < keys.length; i += 128) await write(store, ...keys.slice(i, i + 128).map((key) => put(key)));
    const seen: string[] = [];
    const more: boolean[] = [];
    const revisions = new Set<bigint>();
    for await (const page of store.list(prefixRange("/long/"))) {
      seen.push(...page.kvs.map(({ key }) => key));
      more.push(page.more);
      revisions.add(page.revision);
      // What changes meanwhile, on both sides of where the list is, does not show.
      await write(store, put(`/long/${seen.length}-new`), remove(keys.at(-more.length) as string));
    }
    expect(seen).toEqual(keys);
    expect(more.map(String)).toEqual([...Array(more.length - 1).fill("true"), "false"]);
    expect(revisions.size).toBe(1);
  });

  test("a write whose answer is lost is unknown, and it was done once", async () => {
    const relay = await startRelay(etcd.endpoints[0] ?? "");
    const behind = open([relay.endpoint], { rpcMs: 3_000 });
    await write(behind, put("/unknown", "before"));
    relay.swallow();
    expect(await failure(write(behind, put("/unknown", "after")))).toBe("STORE_OUTCOME_UNKNOWN");
    const { kv } = await store.get("/unknown");
    expect(kv?.value.toString()).toBe("after");
    expect(kv?.version).toBe(2n);
    relay.heal();
    const versionSeen = () =>
      behind.get("/unknown").then(
        ({ kv }) => kv?.version,
        () => undefined,
      );
    await until(async () => (await versionSeen()) === 2n, "read through the healed way");
    await behind.close();
    await relay.stop();
  });

  test("a member that accepts and never answers costs no longer than the deadline", async () => {
    const relay = await startRelay(etcd.endpoints[0] ?? "");
    relay.stall();
    const behind = open([relay.endpoint], { rpcMs: 500 });
    expect(await failure(behind.get("a"))).toBe("STORE_UNAVAILABLE");
    await behind.close();
    await relay.stop();
  });

  test("a full store refuses puts as full and still takes deletes and reads", async () => {
    const small = await startEtcd({ extraArgs: ["--quota-backend-bytes", String(2 * 1024 * 1024)] });
    const full = open(small.endpoints);
    let code = "no error";
    for (let i = 0; i < 40 && code === "no error"; i++)
      code = await failure(write(full, put(`/fill/${i}`, "x".repeat(200_000))));
    expect(code).toBe("STORE_FULL");
    expect(await failure(write(full, remove("/fill/0")))).toBe("no error");
    expect((await full.get("/fill/0")).kv).toBeUndefined();
    expect(await failure(full.grantLease(10))).toBe("STORE_FULL");
    await full.close();
    await small.stop();
  });

  test("a value beyond the server's own limit is too large", async () => {
    const tight = await startEtcd({ extraArgs: ["--max-request-bytes", "20000"] });
    const narrow = open(tight.endpoints);
    expect(await failure(write(narrow, put("a", "x".repeat(30_000))))).toBe("STORE_TOO_LARGE");
    expect(await failure(write(narrow, put("a", "x")))).toBe("no error"); // at once: no breaker
    await narrow.close();
    await tight.stop();
  });

  test("records of which a page is larger than a message may be are listed all the same", async () => {
    const narrow = open(etcd.endpoints, { messageBytes: 1_000_000 });
    for (let i = 0; i < 40; i++)
      await write(store, put(`/large/${String(i).padStart(2, "0")}`, "x".repeat(i % 2 ? 300_000 : 900_000)));
    const keys: string[] = [];
    for await (const page of narrow.list(prefixRange("/large/"))) keys.push(...page.kvs.map(({ key }) => key));
    expect(keys).toEqual(Array.from({ length: 40 }, (_, i) => `/large/${String(i).padStart(2, "0")}`));
    await narrow.close();
  });

  test("with TLS, only a client of the right authority is served, and the reason is said", async () => {
    const folder = mkdtempSync(join(tmpdir(), "jotgate-tls-"));
    const ours = certificates(folder, "ours");
    const theirs = certificates(folder, "theirs");
    const secure = await startEtcd({ tls: ours.files });
    const good = open(secure.endpoints, ours.access);
    expect(await failure(write(good, put("a")))).toBe("no error");
    const { ca } = ours.access;
    for (const [access, reason] of [
      [{ ca }, /certificate/i],
      [theirs.access, /self.signed|unable to verify|certificate/i],
    ] as const) {
      const stranger = open(secure.endpoints, { ...access, rpcMs: 30_000 });
      await expect(stranger.get("a")).rejects.toMatchObject({
        code: "STORE_UNAVAILABLE",
        message: expect.stringMatching(reason),
      });
      await stranger.close();
    }
    await good.close();
    await secure.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  describe("with users", () => {
    let guarded: EtcdCluster;
    const ctl = (...args: string[]): void => {
      const { status, stderr } = spawnSync("etcdctl", ["--endpoints", guarded.endpoints.join(","), ...args], {
        env: { ...process.env, ETCDCTL_API: "3" },
      });
      if (status !== 0) throw new Error(`etcdctl ${args.join(" ")}: ${stderr}`);
    };
    beforeAll(async () => {
      guarded = await startEtcd({ extraArgs: ["--auth-token-ttl", "2"] });
      ctl("user", "add", "root:rootpw");
      ctl("user", "add", "gateway:gatewaypw");
      ctl("role", "add", "reader");
      ctl("role", "grant-permission", "reader", "read", "/apisix/", "/apisix0");
      ctl("user", "grant-role", "gateway", "reader");
      ctl("auth", "enable");
    });
    afterAll(() => guarded?.stop());

    test.each([
      { says: "no user", access: {} },
      { says: "a wrong password", access: { user: "gateway", password: "wrong" } },
    ])("$says is denied", async ({ access }) => {
      const stranger = open(guarded.endpoints, access);
      expect(await failure(stranger.get("/apisix/a"))).toBe("STORE_DENIED");
      expect((await watchEnd(stranger, "/apisix/")).kind).toBe("refused");
      await stranger.close();
    });

    test("a user may do what its role grants, and nothing else", async () => {
      const gateway = open(guarded.endpoints, { user: "gateway", password: "gatewaypw" });
      expect(await failure(gateway.get("/apisix/a"))).toBe("no error");
      expect(await failure(write(gateway, put("/apisix/a")))).toBe("STORE_DENIED");
      expect((await watchEnd(gateway, "/other/")).kind).toBe("refused");
      await gateway.close();
    });

    test("a token that expired is replaced without the caller noticing", async () => {
      const root = open(guarded.endpoints, { user: "root", password: "rootpw" });
      await write(root, put("/apisix/a"));
      await new Promise((resolve) => setTimeout(resolve, 3_200)); // the server's own clock: there is no fact to wait for
      expect(await failure(write(root, put("/apisix/a", "again")))).toBe("no error");
      await root.close();
    });
  });
});

/** An authority of its own and one certificate for both sides. */
function certificates(folder: string, name: string) {
  const at = (suffix: string): string => join(folder, `${name}-${suffix}`);
  const openssl = (...args: string[]): void => {
    const { status, stderr } = spawnSync("openssl", args);
    if (status !== 0) throw new Error(`openssl ${args.join(" ")}: ${stderr}`);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...key,
    "-keyout",
    at("ca.key"),
    "-out",
    at("ca.pem"),
    "-days",
    "2",
    "-subj",
    `/CN=${name} authority`,
  );
  openssl(
    "req",
    ...key,
    "-keyout",
    at("key.pem"),
    "-out",
    at("csr.pem"),
    "-subj",
    `/CN=${name}`,
    "-addext",
    "subjectAltName=IP:127.0.0.1",
  );
  openssl(
    "x509",
    "-req",
    "-in",
    at("csr.pem"),
    "-CA",
    at("ca.pem"),
    "-CAkey",
    at("ca.key"),
    "-CAcreateserial",
    "-copy_extensions",
    "copy",
    "-days",
    "2",
    "-out",
    at("cert.pem"),
  );
  return {
    files: { ca: at("ca.pem"), cert: at("cert.pem"), key: at("key.pem") },
    access: { ca: readFileSync(at("ca.pem")), cert: readFileSync(at("cert.pem")), key: readFileSync(at("key.pem")) },
  };
}
