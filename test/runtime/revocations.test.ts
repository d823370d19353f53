/**
 * What a process knows of ended tokens: tables of fingerprints, rules, and what is forgotten when.
 */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { type Fingerprint, fingerprintOfId, fingerprintOfText, readFingerprint } from "../../src/base/jose/token.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import { encodeBatch, hourDir, RULE_TYPES, type RuleType } from "../../src/model/revocation.ts";
import { type RevocableToken, revocationOf } from "../../src/plugin/revocations.ts";
import { FingerprintTable } from "../../src/runtime/revocation/fingerprint-table.ts";
import { openTestRevocations } from "../support/revocations.ts";
import { openWorld } from "./live-fixture.ts";

function numbered(n: number): Fingerprint {
  return readFingerprint(createHash("sha256").update(String(n)).digest(), 0);
}

function wordsOf({ a, b, c, d }: Fingerprint): [number, number, number, number] {
  return [a, b, c, d];
}

function textOf({ a, b, c, d }: Fingerprint): string {
  return [a, b, c, d].join();
}

describe("a table of fingerprints", () => {
  // Few different words, so that slots, segments and directories collide as often as they can.
  const word = fc.oneof(fc.integer({ min: -2, max: 2 }), fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }));
  const entry = fc.tuple(fc.record({ a: word, b: word, c: word, d: word }), fc.integer({ min: 1, max: 2 ** 32 - 1 }));

  test("holds what a map would hold", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 300 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }), (entries, before) => {
        const table = new FingerprintTable();
        const map = new Map<string, number>();
        for (const [fingerprint, until] of entries) {
          const known = map.get(textOf(fingerprint));
          expect(table.add(...wordsOf(fingerprint), until)).toBe(known === undefined);
          map.set(textOf(fingerprint), Math.max(known ?? 0, until));
        }
        for (const [one] of entries) expect(table.untilOf(one)).toBe(map.get(textOf(one)));
        expect(table.size).toBe(map.size);
        for (let at = table.forget(before, 0, 1); at !== 0; ) at = table.forget(before, at, 1);
        for (const [one] of entries) {
          const until = map.get(textOf(one)) ?? 0;
          expect(table.untilOf(one)).toBe(until < before ? 0 : until);
        }
        expect(table.size).toBe([...map.values()].filter((until) => until >= before).length);
      }),
    );
  });

  test("holds 100,000 in a fraction of what objects take, and finds no other", () => {
    const table = new FingerprintTable();
    for (let n = 0; n < 100_000; n++) table.add(...wordsOf(numbered(n)), n + 1);
    expect(table.size).toBe(100_000);
    expect(table.bytes / table.size).toBeLessThan(60);
    for (let n = 0; n < 100_000; n += 7) expect(table.untilOf(numbered(n))).toBe(n + 1);
    for (let n = 100_000; n < 110_000; n++) expect(table.untilOf(numbered(n))).toBe(0);
  });

  test("holds fingerprints that begin alike, which no hash gives", () => {
    const table = new FingerprintTable();
    for (let n = 0; n < 10_000; n++) table.add(7, n, 0, 0, 1);
    expect(table.size).toBe(10_000);
    for (let n = 0; n < 10_000; n += 13) expect(table.untilOf({ a: 7, b: n, c: 0, d: 0 })).toBe(1);
  });
});

const NOW = 1_700_000_000;

function tokenOf(facts: Partial<RevocableToken>): RevocableToken {
  const nothing = { consumer: undefined, client: undefined, issuer: undefined, subject: undefined, keyId: undefined };
  return { ...nothing, issuedAt: NOW, expires: NOW + 60, id: undefined, checked: 0, fingerprint: undefined, ...facts };
}

const ALL: Partial<RevocableToken> = {
  consumer: "shop",
  client: "batch",
  issuer: "https://a",
  subject: "s",
  keyId: "k",
};
const RULES: Readonly<Record<RuleType, { readonly value: string; readonly issuer?: string }>> = {
  consumer: { value: "shop" },
  client: { value: "batch" },
  subject: { issuer: "https://a", value: "s" },
  kid: { issuer: "https://a", value: "k" },
  issuer: { value: "https://a" },
};

function open() {
  const clock = new FakeClock(NOW * 1_000);
  return { clock, ...openTestRevocations(clock) };
}

describe("a rule", () => {
  test.each(RULE_TYPES)("of type %s refuses older tokens that it covers and no others", (type) => {
    const { live, rule } = open();
    rule({ type, ...RULES[type], issuedBefore: type === "kid" ? undefined : NOW });
    const isRevoked = (facts: Partial<RevocableToken>): boolean =>
      revocationOf(tokenOf({ ...ALL, ...facts }), "a.b.c", live) !== undefined;
    expect(isRevoked({ issuedAt: NOW - 1 })).toBe(true);
    expect(isRevoked({ issuedAt: undefined })).toBe(true);
    expect(isRevoked({ issuedAt: Number.NaN })).toBe(true);
    expect(isRevoked({ issuedAt: NOW })).toBe(type === "kid");
    const other = { consumer: "x", client: "x", issuer: "https://b", subject: "x", keyId: "x" };
    expect(isRevoked({ ...other, issuedAt: 0 })).toBe(false);
    expect(isRevoked({ ...other, ...RULES[type], issuer: "https://b", issuedAt: 0 })).toBe(false);
  });

  const pairs = RULE_TYPES.flatMap((one) => RULE_TYPES.map((two) => [one, two] as const));
  test.each(pairs)("of type %s beside one of type %s: the strictest counts", (one, two) => {
    for (const [first, second] of [[NOW - 100, NOW + 100] as const, [NOW + 100, NOW - 100] as const]) {
      const { live, rule } = open();
      if (one === two) continue;
      rule({ type: one, ...RULES[one], issuedBefore: one === "kid" ? undefined : first });
      rule({ type: two, ...RULES[two], issuedBefore: two === "kid" ? undefined : second });
      expect(revocationOf(tokenOf({ ...ALL, issuedAt: NOW }), "a.b.c", live)).toBeDefined();
      const later = revocationOf(tokenOf({ ...ALL, issuedAt: NOW + 100 }), "a.b.c", live);
      expect(later !== undefined).toBe(one === "kid" || two === "kid");
    }
  });

  test("that is taken back refuses nothing any more", () => {
    const { live, rule } = open();
    const key = rule({ type: "consumer", value: "shop", issuedBefore: NOW + 1 });
    const token = tokenOf(ALL);
    expect(revocationOf(token, "a.b.c", live)).toMatchObject({ type: "consumer", value: "shop" });
    live.apply(key, undefined);
    expect(revocationOf(token, "a.b.c", live)).toBeUndefined();
  });
});

describe("a revoked token", () => {
  const batchOf = (hour: number, fingerprint: Fingerprint, until = NOW + 60): [string, Buffer] => [
    `${hourDir("/apisix", hour)}w-1-1`,
    encodeBatch([{ fingerprint, until }], NOW * 1_000),
  ];
  const hour = Math.floor((NOW + 60) / 3_600);

  test("is known by its text, or by issuer and id, and by nothing else", () => {
    const { live } = open();
    live.apply(...batchOf(hour, fingerprintOfText("h.p.s")));
    live.apply(...batchOf(hour, fingerprintOfId("https://a", "1")));
    expect(revocationOf(tokenOf({}), "h.p.other-signature", live)).toEqual({ type: "token" });
    expect(revocationOf(tokenOf({}), "h.q.s", live)).toBeUndefined();
    expect(revocationOf(tokenOf({ issuer: "https://a", id: "1" }), "x.y.z", live)).toEqual({ type: "token" });
    expect(revocationOf(tokenOf({ issuer: "https://b", id: "1" }), "x.y.z", live)).toBeUndefined();
  });

  test("is remembered until it has ended by itself, and a while longer; deleting its batch changes nothing", () => {
    const { live, clock } = open();
    const [key, value] = batchOf(hour, fingerprintOfText("h.p.s"));
    live.apply(key, value);
    live.apply(key, undefined);
    const end = (hour + 1) * 3_600 + 600;
    clock.advance((end - 60 - NOW) * 1_000);
    expect(revocationOf(tokenOf({}), "h.p.s", live)).toEqual({ type: "token" });
    clock.advance(180_000);
    expect(live.tokenCount).toBe(0);
  });

  test("whose end is not known is looked for whatever the token says of its own", () => {
    const { live, clock } = open();
    live.apply(...batchOf(0, fingerprintOfText("h.p.s"), NOW + 1_000));
    for (const expires of [undefined, NOW + 60, "soon", -1, 1e308, NOW * 1_000]) {
      expect(revocationOf(tokenOf({ expires }), "h.p.s", live)).toEqual({ type: "token" });
    }
    clock.advance(2_000_000);
    expect(live.tokenCount).toBe(0);
  });

  test("that is written again, in another batch, is no change", () => {
    const { live } = open();
    live.apply(...batchOf(hour, fingerprintOfText("h.p.s")));
    const { generation } = live;
    live.apply(`${hourDir("/apisix", hour)}w-2-1`, batchOf(hour, fingerprintOfText("h.p.s"))[1]);
    expect(live.generation).toBe(generation);
  });
});

test("what is no revocation is said to be none, and ends nothing", () => {
  const metrics = openMetrics();
  const { live } = openTestRevocations(new FakeClock(NOW * 1_000), metrics);
  const dir = "/apisix/token_revocations/";
  for (const [key, value] of [
    [`${dir}5/a-1-1`, "{"],
    [`${dir}5/a-1-1`, "[]"],
    [`${dir}5/a-1-1`, '{"v":2,"e":""}'],
    [`${dir}5/a-1-1`, '{"v":1,"e":"AAAA"}'],
    [`${dir}5/a-1-1`, '{"v":1,"e":7}'],
    [`${dir}epochs/a`, '{"v":1,"type":"world","value":"x","issued_before":1,"until":1}'],
    [`${dir}epochs/a`, '{"v":1,"type":"subject","value":"x","issued_before":1,"until":1}'],
    [`${dir}epochs/a`, '{"v":1,"type":"consumer","value":"x","until":1}'],
    [`${dir}epochs/a`, '{"v":1,"type":"issuer","value":7,"issued_before":1,"until":1}'],
  ] as const) {
    expect(live.owns(key)).toBe(true);
    expect(live.apply(key, Buffer.from(value)), value).toBeTypeOf("string");
  }
  expect(live.generation).toBe(0);
  for (const key of [dir, `${dir}5/`, `${dir}x/a`, `${dir}5/a/b`, `${dir}-1/a`, "/apisix/routes/1"]) {
    expect(live.owns(key), key).toBe(false);
  }
});

test("a record that is no revocation is its own problem; those beside it count, in the same turn", () => {
  const world = openWorld();
  const good = encodeBatch([{ fingerprint: fingerprintOfText("h.p.s"), until: NOW }], 0);
  const refused = world.put({
    "token_revocations/epochs/bad": { v: 1, type: "world" },
    "token_revocations/5/bad-1-1": "{",
    [`token_revocations/${Math.floor(NOW / 3_600)}/good-1-1`]: good,
  });
  expect(refused).toEqual(["/apisix/token_revocations/epochs/bad", "/apisix/token_revocations/5/bad-1-1"]);
  expect(world.problemsOf("token_revocations/5/bad-1-1")).toEqual(["not JSON"]);
  expect(world.live.env.revocations.hasTokens).toBe(true);
  expect(revocationOf(tokenOf({ expires: NOW }), "h.p.s", world.live.env.revocations)).toEqual({ type: "token" });
  world.put({ "token_revocations/epochs/bad": undefined, "token_revocations/5/bad-1-1": undefined });
  expect(world.live.problems()).toEqual([]);
});
