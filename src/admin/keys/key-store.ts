/**
 * Signing keys as they lie in the store: listed, made, and written with other times.
 * Promise: a private key leaves this process sealed, where there is a keyring; whoever writes keys of a server writes its
 * guard, so that two admins make one.
 */
import type { KeyPairAlgorithm } from "../../base/jose/algorithms.ts";
import { makeKeyPem, readKeyPair } from "../../base/jose/key-pair.ts";
import type { Members } from "../../base/json/members.ts";
import type { NewTimes, RotationPlan } from "../../model/key-rotation.ts";
import { dirOf, keyOf, parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import { type KeyTimes, type SigningKey, timesOf } from "../../model/signing-key.ts";
import { prefixRange } from "../../store/store.ts";
import type { ReadSide, StoreSide } from "../admin-context.ts";
import { toStored } from "../read/stored-record.ts";
import { signingKeysGuardKey } from "../store-paths.ts";
import type { Plan } from "../write/write-plan.ts";

export interface StoredKey extends KeyTimes {
  /** As stored: sealed. */
  readonly value: Members;
  readonly key: string;
  readonly modRevision: bigint;
}

/** @param server id of the authorization server */
export async function listKeys(admin: StoreSide, server: string): Promise<readonly StoredKey[]> {
  const found: StoredKey[] = [];
  const start = `${dirOf(admin.prefix, "signing_key")}${server}/`;
  for await (const page of admin.store.list(prefixRange(start))) {
    for (const kv of page.kvs) {
      const parsed = parseKey(admin.prefix, kv.key);
      const { value } = toStored(kv);
      if (!parsed || !value) continue;
      // True enough: times that are no numbers make comparisons false, and nodes refuse such a record.
      const times = timesOf(parsed.id.slice(server.length + 1), value as unknown as SigningKey);
      found.push({ ...times, value, key: kv.key, modRevision: kv.modRevision });
    }
  }
  return found;
}

/** Whoever plans keys of this server from what was read before fails when another has written some. */
export async function expectGuard(admin: StoreSide, plan: Plan, server: string): Promise<void> {
  const guard = signingKeysGuardKey(admin.prefix, server);
  const { kv } = await admin.store.get(guard);
  plan.expect(guard, kv?.modRevision ?? 0n);
}

/** A key that is made now. @returns its kid */
async function planNewKey(
  admin: ReadSide,
  plan: Plan,
  server: string,
  algorithm: KeyPairAlgorithm,
  times: NewTimes,
): Promise<string> {
  const pem = await makeKeyPem(algorithm);
  const { kid, publicJwk } = readKeyPair(algorithm, pem);
  const now = Math.floor(admin.clock.nowMs() / 1_000);
  const id = `${server}/${kid}`;
  const value = {
    ...{ id, authorization_server: server, kid, algorithm, private_key: pem, public_jwk: publicJwk },
    ...{ create_time: now, update_time: now, ...timeMembers({ ...times, revokedAt: undefined }) },
  };
  const sealed = admin.codec.seal(KINDS.signing_key, id, value);
  plan.put(keyOf(admin.prefix, "signing_key", id), JSON.stringify(sealed));
  return kid;
}

/**
 * Adds to `plan` what becomes of keys. `expectGuard` comes before the keys are read.
 * @returns kid of the key that was made
 */
export async function planRotation(
  admin: ReadSide,
  plan: Plan,
  server: string,
  rotation: RotationPlan,
  keys: readonly StoredKey[],
): Promise<string | undefined> {
  const now = Math.floor(admin.clock.nowMs() / 1_000);
  const byKid = new Map(keys.map((one) => [one.kid, one]));
  for (const times of rotation.change) {
    const stored = byKid.get(times.kid);
    if (!stored) continue;
    const { publish_at: _p, sign_from: _f, sign_until: _u, verify_until: _v, revoked_at: _r, ...rest } = stored.value;
    plan.expect(stored.key, stored.modRevision);
    plan.put(stored.key, JSON.stringify({ ...rest, update_time: now, ...timeMembers(times) }));
  }
  for (const { kid } of rotation.remove) {
    const stored = byKid.get(kid);
    if (stored) plan.expect(stored.key, stored.modRevision).delete(stored.key);
  }
  const { make, algorithm } = rotation;
  const made = make && (await planNewKey(admin, plan, server, algorithm, make));
  plan.put(signingKeysGuardKey(admin.prefix, server), `${now} ${made ?? ""}`);
  return made;
}

function timeMembers(times: Omit<KeyTimes, "kid" | "algorithm">): Members {
  const { publishAt, signFrom, signUntil, verifyUntil, revokedAt } = times;
  return {
    ...{ publish_at: publishAt, sign_from: signFrom },
    ...(signUntil !== undefined && { sign_until: signUntil }),
    ...(verifyUntil !== undefined && { verify_until: verifyUntil }),
    ...(revokedAt !== undefined && { revoked_at: revokedAt }),
  };
}

export interface MadeKey {
  readonly algorithm: unknown;
  readonly kid: string;
}

/** The keys that a plan puts for another record's sake. */
export function keysIn(prefix: string, plan: Plan): readonly MadeKey[] {
  const dir = dirOf(prefix, "signing_key");
  return plan.operations.flatMap((one) => {
    if (one.op !== "put" || !one.key.startsWith(dir)) return [];
    const { algorithm } = JSON.parse(one.value.toString("utf8")) as Members; // the plan's own text
    return [{ algorithm, kid: one.key.slice(one.key.lastIndexOf("/") + 1) }];
  });
}
