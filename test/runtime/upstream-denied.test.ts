import { expect, test } from "vitest";
import { compileIpSet, METADATA_ADDRESSES } from "../../src/base/net/ip.ts";
import { readTargets, refuseDenied, withoutDenied } from "../../src/runtime/upstream/target-list.ts";

const denied = compileIpSet(["169.254.0.0/16", "fe80::/10"]);

test.each([
  { says: "an address in a denied range", nodes: { "169.254.169.254:80": 1 }, refused: true },
  { says: "an IPv6 address in a denied range", nodes: { "[fe80::1]:80": 1 }, refused: true },
  { says: "one denied address among others", nodes: { "10.0.0.1:80": 1, "169.254.1.1:80": 1 }, refused: true },
  { says: "another address", nodes: { "10.0.0.1:80": 1 }, refused: false },
  { says: "a name, which is judged by what it resolves to", nodes: { "a.test:80": 1 }, refused: false },
])("a record with $says is refused: $refused", ({ nodes, refused }) => {
  const check = (): void => refuseDenied(readTargets(nodes, "http"), denied);
  if (refused) expect(check).toThrow(/denied by upstreams\.deny_addresses/);
  else expect(check).not.toThrow();
});

test("a name keeps its other addresses, and has none when all are denied", async () => {
  const answers = { addresses: ["169.254.169.254", "10.0.0.1"], ttlSeconds: 5 };
  const guarded = withoutDenied(async () => answers, denied);
  expect((await guarded("a.test")).addresses).toEqual(["10.0.0.1"]);
  answers.addresses.pop();
  await expect(guarded("a.test")).rejects.toThrow(/every address of a\.test is denied/);
});

test.each([
  { address: "169.254.169.254", refused: true },
  { address: "169.254.170.2", refused: true },
  { address: "::ffff:169.254.169.254", refused: true },
  { address: "::ffff:a9fe:a9fe", refused: true },
  { address: "::169.254.169.254", refused: true },
  { address: "64:ff9b::169.254.169.254", refused: true },
  { address: "2002:a9fe:a9fe::1", refused: true },
  { address: "::ffff:0:169.254.169.254", refused: true },
  { address: "fd00:ec2::254", refused: true },
  { address: "fd00:ec2::253", refused: false },
  { address: "169.253.1.1", refused: false },
  { address: "::ffff:10.0.0.1", refused: false },
  { address: "127.0.0.1", refused: false },
  { address: "::1", refused: false },
])("by default $address is refused: $refused", async ({ address, refused }) => {
  const standard = compileIpSet(METADATA_ADDRESSES);
  const host = address.includes(":") ? `[${address}]:80` : `${address}:80`;
  const check = (): void => refuseDenied(readTargets({ [host]: 1 }, "http"), standard);
  if (refused) expect(check).toThrow(/denied by upstreams\.deny_addresses/);
  else expect(check).not.toThrow();
  const found = withoutDenied(async () => ({ addresses: [address], ttlSeconds: 5 }), standard)("a.test");
  await (refused ? expect(found).rejects.toThrow(/denied/) : expect(found).resolves.toBeDefined());
});
