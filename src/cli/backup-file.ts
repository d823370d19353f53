/**
 * The file of a backup: a line that says what it is, then sealed pieces, each bound to its place and the last one marked.
 * Promise: a file that was cut, changed, put together from two or opened with another key is refused before anything of it is
 * used. ADR 20.
 */
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { sealingKey } from "../store/file/file-sealing.ts";
import { openSealer, type Sealer } from "../sync/lkg/sealer.ts";

export interface BackupHead {
  readonly jotgate: "backup 1";
  readonly id: string;
  readonly prefix: string;
  /** Decimal; of the store. */
  readonly revision: string;
  /** Seconds since 1970. */
  readonly made: number;
  /** Undefined: sealed under the first key of the keyring. */
  readonly sealing?: { readonly kdf: "scrypt"; readonly salt: string };
}

/** Key and value, in the order of keys. */
type BackupRecord = readonly [key: string, base64: string];

interface BackupKeys {
  readonly keyring: readonly string[];
  readonly passphrase: string | undefined;
}

const PIECE_BYTES = 1_048_576;
const PIECE_BYTES_MAX = 64 * 1024 * 1024;
const HEAD_BYTES_MAX = 4_096;

function sealerOf(head: BackupHead, { keyring, passphrase }: BackupKeys): Sealer | string {
  if (head.sealing) {
    if (passphrase === undefined)
      return "it is sealed by a passphrase: set JOTGATE_PASSPHRASE or JOTGATE_PASSPHRASE_FILE";
    return openSealer([sealingKey(passphrase, head.sealing)], "backup");
  }
  return keyring.length > 0 ? openSealer(keyring, "backup") : "it is sealed by a keyring: set JOTGATE_KEYRING";
}

function boundOf(head: string, piece: number, isLast: boolean): Buffer {
  return Buffer.from(`${head}\n${piece}\n${isLast}`, "utf8");
}

/** Writes beside the file and renames at the end. */
export class BackupWriter {
  readonly #file: string;
  readonly #fresh: string;
  readonly #handle: number;
  readonly #head: string;
  readonly #sealer: Sealer;
  #lines: string[] = [];
  #length = 0;
  #pieces = 0;

  /** @throws Error when the keys do not suffice, or the file cannot be written */
  constructor(file: string, head: Omit<BackupHead, "jotgate" | "id">, keys: BackupKeys) {
    const whole: BackupHead = { jotgate: "backup 1", id: randomUUID(), ...head };
    const sealer = sealerOf(whole, keys);
    if (typeof sealer === "string") throw new Error(sealer);
    this.#sealer = sealer;
    this.#file = file;
    this.#fresh = `${file}.new`;
    this.#head = JSON.stringify(whole);
    this.#handle = openSync(this.#fresh, "w", 0o600);
    writeSync(this.#handle, `${this.#head}\n`);
  }

  add(record: BackupRecord): void {
    const line = JSON.stringify(record);
    this.#lines.push(line);
    this.#length += line.length;
    if (this.#length >= PIECE_BYTES) this.#flush(false);
  }

  /** Everything is on disk under its name once this returns. */
  finish(): void {
    this.#flush(true);
    fsyncSync(this.#handle);
    closeSync(this.#handle);
    renameSync(this.#fresh, this.#file);
  }

  drop(): void {
    closeSync(this.#handle);
    rmSync(this.#fresh, { force: true });
  }

  #flush(isLast: boolean): void {
    const plain = deflateRawSync(Buffer.from(this.#lines.join("\n"), "utf8"));
    const sealed = this.#sealer.seal(plain, boundOf(this.#head, this.#pieces++, isLast));
    const size = Buffer.alloc(4);
    size.writeUInt32BE(sealed.length);
    writeSync(this.#handle, size);
    writeSync(this.#handle, sealed);
    this.#lines = [];
    this.#length = 0;
  }
}

/** @throws Error with what is wrong and the cure; a caller that wants all or nothing reads it twice */
export function* readBackup(
  file: string,
  keys: BackupKeys,
  onHead: (head: BackupHead) => void,
): Generator<BackupRecord> {
  const handle = openSync(file, "r");
  try {
    const start = readAt(handle, 0, HEAD_BYTES_MAX);
    const end = start.indexOf(0x0a);
    const text = end < 0 ? "" : start.subarray(0, end).toString("utf8");
    const head = parseHead(text);
    if (!head) throw new Error(`${file} is no backup of Jotgate`);
    const sealer = sealerOf(head, keys);
    if (typeof sealer === "string") throw new Error(`${file}: ${sealer}`);
    onHead(head);
    let at = end + 1;
    for (let piece = 0; ; piece++) {
      const size = readAt(handle, at, 4);
      if (size.length < 4) throw new Error(`${file} is cut off after ${at} bytes: take another copy`);
      const sealed = readAt(handle, at + 4, Math.min(size.readUInt32BE(), PIECE_BYTES_MAX));
      at += 4 + sealed.length;
      const isLast = readAt(handle, at, 1).length === 0;
      const plain = sealer.open(sealed, boundOf(text, piece, isLast));
      if (!plain)
        throw new Error(
          `${file} cannot be opened at piece ${piece + 1}: it was cut or changed, or the key or passphrase is another`,
        );
      const lines = inflateRawSync(plain).toString("utf8");
      for (const line of lines === "" ? [] : lines.split("\n")) yield JSON.parse(line) as BackupRecord;
      if (isLast) return;
    }
  } finally {
    closeSync(handle);
  }
}

function parseHead(text: string): BackupHead | undefined {
  try {
    const head = JSON.parse(text) as Partial<BackupHead> | null;
    return head?.jotgate === "backup 1" && typeof head.prefix === "string" ? (head as BackupHead) : undefined;
  } catch {
    return undefined; // something else
  }
}

function readAt(handle: number, at: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let read = 0;
  while (read < length) {
    const got = readSync(handle, bytes, read, length - read, at + read);
    if (got === 0) break;
    read += got;
  }
  return bytes.subarray(0, read);
}
