/**
 * The key between admins and nodes: one for all, sealed under the keyring, replaced without a refused call.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { openKeyring } from "../../src/base/keyring.ts";
import { NodeKeyCheck, NodeKeyring } from "../../src/cluster/node-key.ts";
import { openTemporaryStore, type TemporaryStore } from "../support/stores.ts";

const KEY = "/apisix-jotgate/node-key";
const ring = openKeyring(["0123456789abcdef"], "gcm");
let temporary: TemporaryStore;
let dayMs = 0;
const clock = { ...systemClock, nowMs: () => systemClock.nowMs() + dayMs };

beforeEach(async () => {
  dayMs = 0;
  temporary = await openTemporaryStore();
});
afterEach(() => temporary.stop());

const options = (keyring = undefined as typeof ring | undefined) => ({
  ...{ store: temporary.store, prefix: "/apisix", keyring, clock },
});
const stored = async (): Promise<string> => (await temporary.store.get(KEY)).kv?.value.toString("utf8") ?? "";

describe("the key between admins and nodes", () => {
  test("is one for all admins, also for those that start at once", async () => {
    const keys = await Promise.all([1, 2, 3].map(() => new NodeKeyring(options()).current()));
    expect(new Set(keys).size).toBe(1);
    const check = new NodeKeyCheck(options());
    expect(await check.admits(keys[0])).toBe(true);
    for (const wrong of [undefined, "", `${keys[0]}x`, "A".repeat(43), 7])
      expect(await check.admits(wrong)).toBe(false);
  });

  test("is sealed where there is a keyring, and sealed anew when one comes", async () => {
    const plain = await new NodeKeyring(options()).current();
    expect(await stored()).toContain(plain);
    const sealed = await new NodeKeyring(options(ring)).current();
    expect(sealed).not.toBe(plain);
    expect(await stored()).not.toContain(sealed);
    expect(await stored()).not.toContain(plain);
    expect(await new NodeKeyCheck(options(ring)).admits(sealed)).toBe(true);
    expect(await new NodeKeyCheck(options()).admits(sealed)).toBe(false);
    const before = await stored();
    await expect(new NodeKeyring(options()).current()).rejects.toThrow("give this admin the encryption.keyring");
    expect(await stored()).toBe(before);
  });

  test("is replaced after a day; the former one is still taken, the one before is not", async () => {
    const first = await new NodeKeyring(options()).current();
    const early = new NodeKeyCheck(options());
    expect(await early.admits(first)).toBe(true);
    dayMs += 86_500_000;
    const second = await new NodeKeyring(options()).current();
    expect(second).not.toBe(first);
    expect([await early.admits(second), await early.admits(first)]).toEqual([true, true]);
    dayMs += 86_500_000;
    const third = await new NodeKeyring(options()).current();
    const late = new NodeKeyCheck(options());
    expect([await late.admits(third), await late.admits(second), await late.admits(first)]).toEqual([
      true,
      true,
      false,
    ]);
  });
});
