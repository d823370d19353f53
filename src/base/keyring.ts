/**
 * Seals single texts for the store: AES-256-GCM with a version, the key's id and the place the text belongs to; reads and
 * writes APISIX's AES-CBC as well.
 * Promise: the first key of the ring seals, every key opens; a text sealed for one place opens at no other; a text that
 * no key opens is told apart from plain text, except in APISIX's format, which cannot.
 * Source: docs/spec/admin-api.md section 8.
 */
import { isUtf8 } from "node:buffer";
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from "node:crypto";

export type SealFormat = "gcm" | "aes-cbc";

export type Opened =
  | { readonly kind: "plain" }
  | { readonly kind: "opened"; readonly text: string }
  /** It says of itself that it is sealed. */
  | { readonly kind: "unopenable"; readonly reason: string };

export interface Keyring {
  readonly format: SealFormat;
  /** @param bound what the text belongs to; the same is needed to open it */
  seal(plain: string, bound: string): string;
  open(text: string, bound: string): Opened;
  /** Whether `seal` would seal it no better: it is under the first key, in the ring's format, and opens. */
  isCurrent(text: string, bound: string): boolean;
  /** Digests of a text that nobody can compute without the key, one per key, the first key's first. */
  digests(text: string): readonly string[];
  /** Whether a digest was made with a key of this ring. */
  owns(digest: string): boolean;
}

const PREFIX = "jotgate:1:";

/** Whether a text was sealed by `format: gcm`, with whatever key. */
export function isSealed(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** Whether a text could be one of APISIX's: whole blocks in base64. Keys and secrets of 32 random bytes look so too. */
export function looksLegacy(text: string): boolean {
  return text.length % 4 === 0 && LEGACY.test(text) && Buffer.from(text, "base64").length % 16 === 0;
}

const LEGACY = /^[A-Za-z0-9+/]{22,}={0,2}$/;

interface Key {
  readonly id: string;
  readonly secret: Buffer;
  readonly digestId: string;
  readonly digestSecret: Buffer;
}

/** @param keys at least one */
export function openKeyring(keys: readonly string[], format: SealFormat): Keyring {
  const ring = keys.map(deriveKey);
  const legacy = keys.flatMap((key) => (key.length === 16 || key.length === 32 ? [Buffer.from(key, "latin1")] : []));
  const [first] = ring;
  const [firstLegacy] = legacy;
  if (!first || (format === "aes-cbc" && !firstLegacy)) throw new TypeError("a keyring needs a key of its format");
  return {
    format,
    seal: (plain, bound) =>
      format === "aes-cbc" && firstLegacy ? sealLegacy(firstLegacy, plain) : sealGcm(first, plain, bound),
    open(text, bound) {
      if (isSealed(text)) return openGcm(ring, text, bound);
      const opened = openLegacy(legacy, text);
      return opened === undefined ? PLAIN : { kind: "opened", text: opened };
    },
    isCurrent(text, bound) {
      if (format === "aes-cbc" && firstLegacy) return !isSealed(text) && openLegacy([firstLegacy], text) !== undefined;
      return isSealed(text) && openGcm([first], text, bound).kind === "opened";
    },
    digests: (text) => ring.map((key) => digestOf(key, text)),
    owns: (digest) => ring.some((key) => digest.startsWith(`${key.digestId}-`)),
  };
}

const PLAIN: Opened = Object.freeze({ kind: "plain" });

function deriveKey(key: string): Key {
  const secret = derive(key, "jotgate fields 1");
  const digestSecret = derive(key, "jotgate identifying values 1");
  return { secret, id: nameOf(secret), digestSecret, digestId: nameOf(digestSecret) };
}

function derive(key: string, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", key, Buffer.alloc(0), purpose, 32));
}

/** Eight hex digits that tell keys apart and nothing of them. */
function nameOf(secret: Buffer): string {
  return createHash("sha256").update(secret).digest("hex").slice(0, 8);
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

function sealGcm(key: Key, plain: string, bound: string): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key.secret, iv).setAAD(Buffer.from(bound, "utf8"));
  const text = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
  return `${PREFIX}${key.id}:${Buffer.concat([iv, cipher.getAuthTag(), text]).toString("base64url")}`;
}

function openGcm(ring: readonly Key[], text: string, bound: string): Opened {
  const parts = /^([0-9a-f]{8}):([A-Za-z0-9_-]+)$/.exec(text.slice(PREFIX.length));
  const key = ring.find(({ id }) => id === parts?.[1]);
  if (!parts) return { kind: "unopenable", reason: "it is not a whole sealed text" };
  if (!key) return { kind: "unopenable", reason: `it was sealed with key ${parts[1]}, which is not in the keyring` };
  const bytes = Buffer.from(parts[2] ?? "", "base64url");
  if (bytes.length < IV_BYTES + TAG_BYTES) return { kind: "unopenable", reason: "it is not a whole sealed text" };
  const decipher = createDecipheriv("aes-256-gcm", key.secret, bytes.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(Buffer.from(bound, "utf8")).setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  try {
    const plain = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
    return { kind: "opened", text: plain.toString("utf8") };
  } catch {
    return { kind: "unopenable", reason: "it was sealed for another place, or changed" };
  }
}

/** APISIX's way: the key is the initialisation vector too, so equal texts have equal cipher texts. */
function sealLegacy(key: Buffer, plain: string): string {
  const cipher = createCipheriv(legacyName(key), key, key.subarray(0, 16));
  return Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]).toString("base64");
}

/** Right padding and right UTF-8 by chance: less than once in 2^40 for texts of usual length. */
function openLegacy(keys: readonly Buffer[], text: string): string | undefined {
  if (keys.length === 0 || !looksLegacy(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  for (const key of keys) {
    try {
      const decipher = createDecipheriv(legacyName(key), key, key.subarray(0, 16));
      const plain = Buffer.concat([decipher.update(bytes), decipher.final()]);
      if (isUtf8(plain)) return plain.toString("utf8");
    } catch {
      // another key's, or plain text that looks like it
    }
  }
  return undefined;
}

function legacyName(key: Buffer): string {
  return key.length === 16 ? "aes-128-cbc" : "aes-256-cbc";
}

function digestOf(key: Key, text: string): string {
  return `${key.digestId}-${createHmac("sha256", key.digestSecret).update(text).digest("hex")}`;
}
