/**
 * Encrypts what is kept on disk: AES-256-GCM with keys derived from the keyring, so that one key serves one purpose.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";

export interface Sealer {
  /** @param bound bytes that must be the same when it is opened */
  seal(plain: Buffer, bound: Buffer): Buffer;
  /** Undefined when it was sealed with an unknown key, for other bytes, or was changed. */
  open(sealed: Buffer, bound: Buffer): Buffer | undefined;
  /** Whether it was sealed with the key that seals now. */
  isCurrent(sealed: Buffer): boolean;
}

const ID_BYTES = 4;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = ID_BYTES + IV_BYTES + TAG_BYTES;

interface Key {
  readonly id: Buffer;
  readonly secret: Buffer;
}

/**
 * @param keyring the first seals, all open; at least one
 * @param purpose keys of different purposes do not open each other's
 */
export function openSealer(keyring: readonly (string | Buffer)[], purpose: string): Sealer {
  const keys = keyring.map((key): Key => {
    const secret = Buffer.from(hkdfSync("sha256", key, Buffer.alloc(0), purpose, 32));
    return { secret, id: createHash("sha256").update(secret).digest().subarray(0, ID_BYTES) };
  });
  const [first] = keys;
  if (first === undefined) throw new TypeError("a sealer needs a key");
  return {
    seal(plain, bound) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv("aes-256-gcm", first.secret, iv).setAAD(bound);
      const text = Buffer.concat([cipher.update(plain), cipher.final()]);
      return Buffer.concat([first.id, iv, cipher.getAuthTag(), text]);
    },
    isCurrent: (sealed) => first.id.equals(sealed.subarray(0, ID_BYTES)),
    open(sealed, bound) {
      const key = keys.find(({ id }) => id.equals(sealed.subarray(0, ID_BYTES)));
      if (key === undefined || sealed.length < HEAD_BYTES) return undefined;
      const iv = sealed.subarray(ID_BYTES, ID_BYTES + IV_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", key.secret, iv, { authTagLength: TAG_BYTES }).setAAD(bound);
      decipher.setAuthTag(sealed.subarray(ID_BYTES + IV_BYTES, HEAD_BYTES));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(HEAD_BYTES)), decipher.final()]);
      } catch {
        return undefined; // changed, or bound to something else
      }
    },
  };
}
