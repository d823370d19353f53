/**
 * The gateway's side of sealed members: they are opened before anything compiles, and never used as they lie.
 */
import { describe, expect, test } from "vitest";
import { openKeyring } from "../../src/base/keyring.ts";
import { KINDS } from "../../src/model/kinds.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { boundTo, openFields } from "../../src/runtime/field-opener.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { openWorld } from "./live-fixture.ts";

const ring = openKeyring(["0123456789abcdef"], "gcm");
const wrong = openKeyring(["fedcba9876543210"], "gcm");
const registry = openPluginRegistry([keyAuth]);

const place = { path: "plugins.key-auth.key", isPem: false };
const sealedFor = (id: string, key: string, by = ring) => ({
  username: id,
  plugins: { "key-auth": { key: by.seal(key, boundTo("/apisix", { kind: "consumer", id }, place)) } },
});
const worldWith = (keyring: typeof ring | undefined) =>
  openWorld({ plugins: [keyAuth], decrypt: openFields(keyring, registry, "/apisix") });
const keysIn = (world: ReturnType<typeof worldWith>, key: string) =>
  world.live.env.credentials("key-auth").get(key)?.consumer.username;

describe("a sealed key", () => {
  test("is served as what it is", () => {
    const world = worldWith(ring);
    expect(world.put({ "consumers/jack": sealedFor("jack", "jack-key") })).toBeUndefined();
    expect(keysIn(world, "jack-key")).toBe("jack");
  });

  test("of another keyring is a problem that names the member and no secret", () => {
    const world = worldWith(ring);
    const record = sealedFor("jack", "jack-key", wrong);
    expect(world.put({ "consumers/jack": record })).toEqual(["/apisix/consumers/jack"]);
    expect(world.problemsOf("consumers/jack")).toEqual([
      expect.stringMatching(
        /^plugins\.key-auth\.key cannot be opened: it was sealed with key [0-9a-f]{8}, which is not/,
      ),
    ]);
    expect(keysIn(world, record.plugins["key-auth"].key)).toBeUndefined();
  });

  test("that cannot be opened leaves the last good one in force", () => {
    const world = worldWith(ring);
    world.put({ "consumers/jack": sealedFor("jack", "jack-key") });
    world.put({ "consumers/jack": sealedFor("jack", "new-key", wrong) });
    expect(keysIn(world, "jack-key")).toBe("jack");
    world.put({ "consumers/jack": sealedFor("jack", "new-key") });
    expect(keysIn(world, "jack-key")).toBeUndefined();
    expect(keysIn(world, "new-key")).toBe("jack");
    expect(world.problemsOf("consumers/jack")).toEqual([]);
  });

  test("copied to another record is a problem", () => {
    const world = worldWith(ring);
    world.put({ "consumers/jill": { ...sealedFor("jack", "jack-key"), username: "jill" } });
    expect(world.problemsOf("consumers/jill")).toEqual([expect.stringContaining("another place")]);
    expect(keysIn(world, "jack-key")).toBeUndefined();
  });

  test("without a keyring is a problem, not a key", () => {
    const world = worldWith(undefined);
    const record = sealedFor("jack", "jack-key");
    world.put({ "consumers/jack": record });
    expect(world.problemsOf("consumers/jack")).toEqual([
      "plugins.key-auth.key is sealed, and no keyring is set (encryption.keyring)",
    ]);
    expect(keysIn(world, record.plugins["key-auth"].key)).toBeUndefined();
  });

  test("beside plain ones of before the keyring: both work", () => {
    const world = worldWith(ring);
    world.put({
      "consumers/jack": sealedFor("jack", "jack-key"),
      "consumers/old": { username: "old", plugins: { "key-auth": { key: "old-key" } } },
    });
    expect(["jack-key", "old-key"].map((key) => keysIn(world, key))).toEqual(["jack", "old"]);
  });
});

test("what APISIX sealed is opened with its keyring", () => {
  const world = worldWith(openKeyring(["qeddd145sfvddff3"], "gcm"));
  world.put({ "consumers/jack": { username: "jack", plugins: { "key-auth": { key: "WvF5kpaLvIzjuk4GNIMTJg==" } } } });
  expect(keysIn(world, "the-password")).toBe("jack");
});

test("a private key that is neither PEM nor to be opened is refused", () => {
  const open = openFields(ring, registry, "/apisix");
  expect(() => open({ kind: "ssl", id: "1" }, { key: "WvF5kpaLvIzjuk4GNIMTJg==" })).toThrow(
    "key cannot be opened with the keyring",
  );
  const sealed = ring.seal("-----BEGIN", boundTo("/apisix", { kind: "ssl", id: "1" }, { path: "keys", isPem: true }));
  expect(open({ kind: "ssl", id: "1" }, { key: "-----BEGIN", keys: [sealed] })["keys"]).toEqual(["-----BEGIN"]);
});

test("every kind can be asked", () => {
  const open = openFields(ring, registry, "/apisix");
  for (const kind of Object.values(KINDS)) expect(open({ kind: kind.name, id: "1" }, { id: "1" })).toEqual({ id: "1" });
});
