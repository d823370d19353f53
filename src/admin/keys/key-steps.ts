/**
 * Steps of writes that concern signing keys: an authorization server never is without one, and no key without its server.
 * Source: docs/spec/tokens.md section 5.
 */

import { isCodedError } from "../../base/errors.ts";
import { KEY_PAIR_ALGORITHMS } from "../../base/jose/algorithms.ts";
import { readKeyPair } from "../../base/jose/key-pair.ts";
import type { Members } from "../../base/json/members.ts";
import { isReference } from "../../base/reference.ts";
import { type AuthorizationServer, termsOf } from "../../model/authorization-server-record.ts";
import { rotationDue } from "../../model/key-rotation.ts";
import { keyOf } from "../../model/keys.ts";
import { rolesAt } from "../../model/signing-key.ts";
import type { StoreSide, WriteSide } from "../admin-context.ts";
import { refuse } from "../admin-response.ts";
import { readStored } from "../read/stored-record.ts";
import { signingKeysGuardKey } from "../store-paths.ts";
import type { Plan } from "../write/write-plan.ts";
import type { Candidate, StepRefusal } from "../write/write-steps.ts";
import { expectGuard, listKeys, planRotation } from "./key-store.ts";

const NO_KEYRING = "signing keys need a keyring: set encryption.keyring";

export async function planKeys(side: WriteSide, record: Candidate, plan: Plan): Promise<StepRefusal | undefined> {
  const { kind, id } = record;
  if (kind.name !== "authorization_server" && kind.name !== "signing_key") return undefined;
  if (side.catalog.write.compat === "strict" && !side.codec.seals) return NO_KEYRING;
  return kind.name === "signing_key" ? planServer(side, id, plan) : planFirstKeys(side, record, plan);
}

/** A key of one's own: its server exists. */
async function planServer(side: WriteSide, id: string, plan: Plan): Promise<StepRefusal | undefined> {
  const server = id.slice(0, id.indexOf("/"));
  const key = keyOf(side.prefix, "authorization_server", server);
  if (!(await readStored(side.store, key))) return refuse(404, `authorization server ${server} not found`);
  plan.require(key);
  plan.put(signingKeysGuardKey(side.prefix, server), id);
  return undefined;
}

/** Each algorithm has a key that signs at once. */
async function planFirstKeys(side: WriteSide, record: Candidate, plan: Plan): Promise<StepRefusal | undefined> {
  const { id, candidate, previousValue } = record;
  const server = candidate as unknown as AuthorizationServer; // by its schema
  await expectGuard(side, plan, id);
  const keys = await listKeys(side, id);
  const former = previousValue?.["issuer"];
  if (keys.length > 0 && former !== undefined && former !== server.issuer)
    return `issuer cannot be changed while keys exist, as tokens name it: make another authorization server, or delete this one first`;
  const now = Math.floor(side.clock.nowMs() / 1_000);
  for (const algorithm of termsOf(server).algorithms) {
    const own = keys.filter((one) => one.algorithm === algorithm);
    const due = rotationDue(algorithm, own, termsOf(server), now);
    if (due.make && due.retiring === undefined) await planRotation(side, plan, id, { ...due, remove: [] }, own);
  }
  return undefined;
}

/** An authorization server goes with all its keys. */
export async function planKeysGone(side: StoreSide, plan: Plan, server: string): Promise<void> {
  await expectGuard(side, plan, server);
  for (const { key, modRevision } of await listKeys(side, server)) plan.expect(key, modRevision).delete(key);
  plan.delete(signingKeysGuardKey(side.prefix, server));
}

/**
 * Completes a key of one's own: its names, what is published of it, and when it signs, unless the body says so.
 */

/** @param id `main/<kid>` @returns the same where it cannot be completed: its checks then say what is wrong */
export async function completeKey(
  admin: StoreSide,
  id: string,
  value: Members,
  previous: Members | undefined,
): Promise<Members> {
  const slash = id.indexOf("/");
  const [server, kid] = [id.slice(0, slash), id.slice(slash + 1)];
  const algorithm = KEY_PAIR_ALGORITHMS.find((name) => name === value["algorithm"]);
  const { value: record } = (await readStored(admin.store, keyOf(admin.prefix, "authorization_server", server))) ?? {};
  if (algorithm === undefined || !record) return value;
  const now = Math.floor(admin.clock.nowMs() / 1_000);
  const keys = (await listKeys(admin, server)).filter((one) => one.algorithm === algorithm && one.kid !== kid);
  const { jwksMaxAgeSeconds } = termsOf(record as unknown as AuthorizationServer); // it was checked when it was written
  // Times that were given once stay, so that the same body means the same key.
  const given = { publish_at: previous?.["publish_at"], sign_from: previous?.["sign_from"], ...value };
  const published = typeof given.publish_at === "number" ? given.publish_at : now;
  const ahead = rolesAt(keys, now).signer === undefined ? 0 : jwksMaxAgeSeconds;
  const pem = value["private_key"];
  return {
    ...value,
    ...{ authorization_server: value["authorization_server"] ?? server, kid: value["kid"] ?? kid },
    ...{ publish_at: published, sign_from: given.sign_from ?? published + ahead },
    ...(previous?.["revoked_at"] !== undefined && { revoked_at: previous["revoked_at"] }), // nothing revives it
    ...(typeof pem === "string" && !isReference(pem) && publicOf(algorithm, pem)),
  };
}

function publicOf(algorithm: (typeof KEY_PAIR_ALGORITHMS)[number], pem: string): Members | undefined {
  try {
    return { public_jwk: readKeyPair(algorithm, pem).publicJwk };
  } catch (error) {
    if (isCodedError(error)) return undefined; // said by the checks
    throw error;
  }
}
