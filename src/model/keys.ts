/**
 * The codec of store keys: which record a key names, and which key a record has.
 * Promise: only records have a parse; placeholders, counters and chatter of others do not.
 * Source: docs/spec/etcd-layout.md section 2.
 */
import { KINDS, type Kind, type KindName, kindByDir } from "./kinds.ts";

export interface RecordKey {
  readonly kind: KindName;
  /** The tail of the key after its directory: `1`, `jack`, `vault/jwt`, `jack/credentials/c1`. Unique within the kind. */
  readonly id: string;
  /** Credentials only: whose, and which. */
  readonly consumer?: string;
  readonly credential?: string;
}

const CREDENTIALS = "/credentials/";

/** @param prefix without a trailing slash @returns undefined for everything that is no record */
export function parseKey(prefix: string, key: string): RecordKey | undefined {
  if (key.length <= prefix.length || key.charCodeAt(prefix.length) !== 0x2f || !key.startsWith(prefix))
    return undefined;
  const start = prefix.length + 1;
  const slash = key.indexOf("/", start);
  if (slash < 0) return undefined;
  const kind = kindByDir(key.slice(start, slash));
  const id = key.slice(slash + 1);
  if (!kind || kind.name === "credential" || id === "") return undefined;
  return parseId(kind, id);
}

function parseId(kind: Kind, id: string): RecordKey | undefined {
  const slash = id.indexOf("/");
  if (kind.id === "manager") {
    const whole = slash > 0 && slash < id.length - 1 && id.indexOf("/", slash + 1) < 0;
    return whole ? { kind: kind.name, id } : undefined;
  }
  if (slash < 0) return { kind: kind.name, id };
  if (kind.name !== "consumer" || !id.startsWith(CREDENTIALS, slash) || slash === 0) return undefined;
  const credential = id.slice(slash + CREDENTIALS.length);
  if (credential === "" || credential.includes("/")) return undefined;
  return { kind: "credential", id, consumer: id.slice(0, slash), credential };
}

/** The store key of a record. @param id as `RecordKey.id` has it */
export function keyOf(prefix: string, kind: KindName, id: string): string {
  return `${prefix}/${kind === "credential" ? KINDS.consumer.dir : KINDS[kind].dir}/${id}`;
}

/** The directory of a kind, with its closing slash: also the key of its placeholder. */
export function dirOf(prefix: string, kind: KindName): string {
  return keyOf(prefix, kind, "");
}

/** The id of a credential as `RecordKey.id` has it. */
export function credentialId(consumer: string, credential: string): string {
  return `${consumer}${CREDENTIALS}${credential}`;
}

/** The directory of one consumer's credentials, with its closing slash. */
export function credentialsOf(prefix: string, consumer: string): string {
  return keyOf(prefix, "credential", credentialId(consumer, ""));
}
