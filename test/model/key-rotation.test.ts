/** Who signs when, and what is published meanwhile: docs/spec/tokens.md section 5.2, with time moved by hand. */
import { expect, test } from "vitest";
import {
  type AuthorizationServer,
  authorizationServerError,
  termsOf,
} from "../../src/model/authorization-server-record.ts";
import { type NewTimes, rotateInEmergency, rotateNow, rotationDue } from "../../src/model/key-rotation.ts";
import { type KeyTimes, rolesAt, stateAt } from "../../src/model/signing-key.ts";

const T0 = 1_700_000_000;
const DAY = 86_400;
const terms = termsOf({ issuer: "https://auth.example" });
const byHand = termsOf({ issuer: "https://auth.example", key_rotation: { interval: 0 } });
const key = (kid: string, times: NewTimes): KeyTimes => ({ kid, algorithm: "ES256", revokedAt: undefined, ...times });

/** An admin that looks once a minute, for as long as it is there. */
function admin(from: number, until: number, keys: readonly KeyTimes[], by = terms): readonly KeyTimes[] {
  let all = keys;
  for (let now = from; now <= until; now += 60) {
    const plan = rotationDue("ES256", all, by, now);
    const changed = new Map(plan.change.map((one) => [one.kid, one]));
    const gone = new Set(plan.remove.map(({ kid }) => kid));
    all = all.filter(({ kid }) => !gone.has(kid)).map((one) => changed.get(one.kid) ?? one);
    if (plan.make) all = [...all, key(`k${now - T0}`, plan.make)];
  }
  return all;
}

test("a server without a key gets one that signs at once, and an admin that looks again leaves it", () => {
  const [first, ...others] = admin(T0, T0 + 600, []);
  expect(others).toEqual([]);
  expect(first).toMatchObject({ publishAt: T0, signFrom: T0, signUntil: T0 + 30 * DAY });
  expect(first?.verifyUntil).toBe(T0 + 30 * DAY + DAY + 300 + 60);
});

test("through three rotations a key is published a day before it signs, and verifies until the last token has ended", () => {
  let keys: readonly KeyTimes[] = admin(T0, T0, []);
  const signers: string[] = [];
  for (let now = T0; now < T0 + 100 * DAY; now += 21_600) {
    keys = admin(now, now, keys);
    const { signer, isOverdue, verifying } = rolesAt(keys, now);
    expect(signer).toBeDefined();
    expect(isOverdue).toBe(false);
    expect(verifying).toContain(signer);
    if (signer && signers.at(-1) !== signer.kid) {
      expect(now - signer.publishAt >= DAY - 21_600 || signers.length === 0).toBe(true);
      signers.push(signer.kid);
    }
    for (const one of keys) {
      const lastToken = Math.min(now, one.signUntil ?? now) + terms.maxLifetimeSeconds;
      if (one.signFrom <= now && now < lastToken && now < (one.signUntil ?? 0) + terms.maxLifetimeSeconds)
        expect(verifying).toContain(one);
    }
  }
  expect(signers).toHaveLength(4);
  expect(keys.length).toBeLessThanOrEqual(3);
});

test("all nodes change at the same second, without a write", () => {
  const [first] = admin(T0, T0, []);
  const keys = admin(T0 + 29 * DAY, T0 + 29 * DAY + 120, first ? [first] : []);
  expect(keys).toHaveLength(2);
  const end = T0 + 30 * DAY;
  const at = (now: number) => rolesAt(keys, now).signer;
  expect(at(end - 1)).toBe(keys[0]);
  expect(at(end)).toBe(keys[1]);
  const states = (now: number) => keys.map((one) => stateAt(one, at(now), now));
  expect(states(end - 1)).toEqual(["active", "next"]);
  expect(states(end)).toEqual(["retiring", "active"]);
  expect(states(end + DAY + 360)).toEqual(["over", "active"]);
});

test("without an admin the last key goes on signing and verifying; the next one extends it", () => {
  const keys = admin(T0, T0, []);
  const late = T0 + 90 * DAY;
  const alone = rolesAt(keys, late);
  expect(alone).toMatchObject({ isOverdue: true, signer: keys[0] });
  expect(alone.verifying).toEqual(keys);
  const after = admin(late, late, keys);
  const from = late + terms.jwksMaxAgeSeconds;
  expect(after).toMatchObject([{ signUntil: from }, { publishAt: late, signFrom: from }]);
  // What it signed last is good for as long as it lives.
  expect(rolesAt(after, from + terms.maxLifetimeSeconds).verifying).toHaveLength(2);
});

test("by hand the next key signs once it was published for jwks_max_age, and the former verifies on", () => {
  const [first] = admin(T0, T0, [], byHand);
  if (!first) throw new Error("no key");
  expect(admin(T0, T0 + 1_000 * 60, [first], byHand)).toEqual([first]);
  const plan = rotateNow("ES256", [first], byHand, T0 + 1_000);
  expect(plan.make).toMatchObject({ publishAt: T0 + 1_000, signFrom: T0 + 1_300, signUntil: undefined });
  expect(plan.change).toMatchObject([{ kid: first.kid, signUntil: T0 + 1_300, verifyUntil: T0 + 1_300 + DAY + 360 }]);
  const [changed] = plan.change;
  if (!plan.make || !changed) throw new Error("no plan");
  const again = rotateNow("ES256", [changed, key("k2", plan.make)], byHand, T0 + 1_100);
  expect(again.make).toBeUndefined();
  expect(again.next).toMatchObject({ kid: "k2", signFrom: T0 + 1_300 });
});

test("a key that waits for its day is brought forward, never beyond its day", () => {
  const [first] = admin(T0, T0, []);
  const keys = admin(T0 + 29 * DAY, T0 + 29 * DAY + 60, first ? [first] : []);
  const soon = rotateNow("ES256", keys, terms, T0 + 29 * DAY + 10_000);
  expect(soon.next).toMatchObject({ kid: keys[1]?.kid, signFrom: T0 + 29 * DAY + 10_000 });
  const late = rotateNow("ES256", keys, terms, T0 + 30 * DAY - 1);
  expect(late.next?.signFrom).toBe(T0 + 30 * DAY - 1);
});

test("in an emergency the new key signs at once and all others verify nothing", () => {
  const [first] = admin(T0, T0, []);
  const keys = admin(T0 + 29 * DAY, T0 + 29 * DAY + 60, first ? [first] : []);
  const now = T0 + 29 * DAY + 120;
  const plan = rotateInEmergency("ES256", keys, terms, now);
  if (!plan.make) throw new Error("no key");
  const after = [...plan.change, key("new", plan.make)];
  expect(rolesAt(after, now).verifying.map(({ kid }) => kid)).toEqual(["new"]);
  expect(rolesAt(after, now).signer?.kid).toBe("new");
  expect(admin(now, now + 40 * DAY, after).map(({ kid }) => kid)).not.toContain(first?.kid);
});

test.each<[Partial<AuthorizationServer>, string]>([
  [{ issuer: "https://a.example/" }, "issuer ends with a slash: leave it away, as it is compared byte for byte"],
  [{ issuer: "http://a.example" }, "issuer is http: use https, which verifiers demand (http on loopback only)"],
  [{ issuer: "https://u:p@a.example" }, "issuer holds a user name or password"],
  [{ issuer: "https://A.example" }, "issuer is not in its plain form: write https://a.example"],
  [{ issuer: "https://a.example:443" }, "issuer is not in its plain form: write https://a.example"],
  [{ access_token_lifetime: 90_000 }, "access_token_lifetime 90000 is above max_access_token_lifetime 86400"],
  [
    { key_rotation: { publish_ahead: 100 } },
    "key_rotation.publish_ahead 100 is below jwks_max_age 300: verifiers would not know a new key yet",
  ],
  [
    { key_rotation: { interval: 3_600 } },
    "key_rotation.interval 3600 is not above publish_ahead 86400: set it to 0 to change keys by hand",
  ],
])("an authorization server that could not work is refused with the cure: %j", (members, text) => {
  expect(authorizationServerError({ issuer: "https://a.example", ...members })).toBe(text);
});

test.each(["https://a.example", "https://a.example:8443/tenant", "http://127.0.0.1:9080", "http://localhost"])(
  "%s can be an issuer",
  (issuer) => expect(authorizationServerError({ issuer })).toBeUndefined(),
);
