/**
 * Completes a key of one's own: its names, what is published of it, and when it signs, unless the body says so.
 */
import { isCodedError } from "../../base/errors.ts";
import { KEY_PAIR_ALGORITHMS } from "../../base/jose/algorithms.ts";
import { readKeyPair } from "../../base/jose/key-pair.ts";
import { isReference } from "../../base/reference.ts";
import { type AuthorizationServer, termsOf } from "../../model/authorization-server-record.ts";
import { keyOf } from "../../model/keys.ts";
import { rolesAt } from "../../model/signing-key.ts";
import type { StoreSide } from "../admin-context.ts";
import { type Members, readStored } from "../read/stored-record.ts";
import { listKeys } from "./key-store.ts";

/** @param id `main/<kid>` @returns the same where it cannot be completed: its checks then say what is wrong */
export async function completeKey(admin: StoreSide, id: string, value: Members): Promise<Members> {
  const slash = id.indexOf("/");
  const [server, kid] = [id.slice(0, slash), id.slice(slash + 1)];
  const algorithm = KEY_PAIR_ALGORITHMS.find((name) => name === value["algorithm"]);
  const { value: record } = (await readStored(admin.store, keyOf(admin.prefix, "authorization_server", server))) ?? {};
  if (algorithm === undefined || !record) return value;
  const now = Math.floor(admin.clock.nowMs() / 1_000);
  const keys = (await listKeys(admin, server)).filter((one) => one.algorithm === algorithm && one.kid !== kid);
  const { jwksMaxAgeSeconds } = termsOf(record as unknown as AuthorizationServer); // it was checked when it was written
  const published = typeof value["publish_at"] === "number" ? value["publish_at"] : now;
  const ahead = rolesAt(keys, now).signer === undefined ? 0 : jwksMaxAgeSeconds;
  const pem = value["private_key"];
  return {
    ...value,
    ...{ authorization_server: value["authorization_server"] ?? server, kid: value["kid"] ?? kid },
    ...{ publish_at: published, sign_from: value["sign_from"] ?? published + ahead },
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
