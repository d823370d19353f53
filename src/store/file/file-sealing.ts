/**
 * Secrets in files under a passphrase: one key per file by scrypt (RFC 7914), texts sealed for their record and member.
 */
import { randomBytes, scryptSync } from "node:crypto";
import type { Members } from "../../base/json/members.ts";
import { isSealed, openKeyring } from "../../base/keyring.ts";
import { keyOf } from "../../model/keys.ts";
import type { Kind } from "../../model/kinds.ts";

/** A record's value with its sealed texts opened, or which of them cannot be. */
export type OpenSealed = (kind: Kind, id: string, value: Members) => Members | string;

/** What a file says of how it was sealed. */
export interface FileSealing {
  readonly kdf: "scrypt";
  /** base64url */
  readonly salt: string;
}

/** 64 MiB and about 100 ms for each guess. */
const SCRYPT = { N: 65_536, r: 8, p: 1, maxmem: 128 * 1024 * 1024 };

const SALT_BYTES = 16;

export function newSealing(): FileSealing {
  return { kdf: "scrypt", salt: randomBytes(SALT_BYTES).toString("base64url") };
}

/** @returns base64url of 32 bytes: a key of a keyring */
export function sealingKey(passphrase: string, { salt }: FileSealing): string {
  return scryptSync(passphrase, Buffer.from(salt, "base64url"), 32, SCRYPT).toString("base64url");
}

const NO_PASSPHRASE =
  "secrets of this file are sealed: give the passphrase by JOTGATE_PASSPHRASE, or a file that holds it by JOTGATE_PASSPHRASE_FILE";

/** @param sealing as the file has it; undefined: nothing is sealed @returns text: why nothing can be opened */
export function openSealing(sealing: unknown, passphrase: string | undefined): OpenSealed | string | undefined {
  if (sealing === undefined) return undefined;
  if (!isSealing(sealing)) return "it should be as jotgate dump --with-secrets writes it: kdf: scrypt, and salt";
  if (passphrase === undefined) return NO_PASSPHRASE;
  const ring = openKeyring([sealingKey(passphrase, sealing)], "gcm");
  return (kind, id, value) => {
    let wrong: string | undefined;
    const openText = (text: string, path: readonly string[]): string => {
      // Private keys are bound to their record, texts in a map to the map (src/model/secret-fields.ts).
      for (const place of [path.join("."), "private key", path.slice(0, -1).join(".")]) {
        const opened = ring.open(text, `${keyOf("", kind.name, id)}\n${place}`);
        if (opened.kind === "opened") return opened.text;
      }
      wrong ??= `${path.join(".")} cannot be opened: another passphrase, or it was sealed for another place`;
      return text;
    };
    const open = (member: unknown, path: readonly string[]): unknown => {
      if (typeof member === "string") return isSealed(member) ? openText(member, path) : member;
      if (Array.isArray(member)) return member.map((item) => open(item, path));
      if (typeof member !== "object" || member === null) return member;
      return Object.fromEntries(Object.entries(member).map(([name, inner]) => [name, open(inner, [...path, name])]));
    };
    const opened = open(value, []) as Members; // as above
    return wrong ?? opened;
  };
}

function isSealing(value: unknown): value is FileSealing {
  const { kdf, salt } = (value ?? {}) as Readonly<Record<string, unknown>>;
  return kdf === "scrypt" && typeof salt === "string" && /^[\w-]{16,64}$/.test(salt);
}
