/**
 * Frames of the last-known-good file: length, kind, payload, and a sum over all frames up to here.
 * Promise: a frame that reads back is the one that was written at this place after these predecessors.
 * File: magic, then frames `u32 length | u8 kind | payload | 16 bytes sum`. The payload is sealed when a sealer is set.
 */
import { createHash } from "node:crypto";
import type { Sealer } from "./sealer.ts";

export const MAGIC = Buffer.from("JOTLKG1\n", "latin1");
const HEAD_BYTES = 5;
const SUM_BYTES = 16;
/** Longer frames are never written; such a length is garbage. */
const MAX_PAYLOAD = 64 * 1024 * 1024;

export const HEADER = 1;
export const RECORDS = 2;
/** The state is consistent up to here. */
export const COMMIT = 3;

export interface Frame {
  readonly kind: number;
  readonly payload: Buffer;
}

/** Where a chain of frames stands: the sum of the last one. */
export class Chain {
  #sum: Buffer = createHash("sha256").update(MAGIC).digest().subarray(0, SUM_BYTES);
  readonly #sealer: Sealer | undefined;
  #outdated = false;

  constructor(sealer: Sealer | undefined) {
    this.#sealer = sealer;
  }

  get sum(): Buffer {
    return this.#sum;
  }

  /** Whether a frame that was read is under an older key of the keyring. */
  get outdated(): boolean {
    return this.#outdated;
  }

  /** Back to where a file was found sound. */
  reset(sum: Buffer): void {
    this.#sum = sum;
  }

  encode(kind: number, plain: Buffer): Buffer {
    const payload = kind === HEADER || this.#sealer === undefined ? plain : this.#sealer.seal(plain, this.#bound(kind));
    const head = Buffer.allocUnsafe(HEAD_BYTES);
    head.writeUInt32BE(payload.length, 0);
    head.writeUInt8(kind, 4);
    this.#sum = this.#next(kind, payload);
    return Buffer.concat([head, payload, this.#sum]);
  }

  /**
   * Reads the next frame.
   * @returns undefined at the end, and for anything that is not a whole and sound frame
   */
  async decode(read: (bytes: number) => Promise<Buffer>): Promise<Frame | undefined> {
    const head = await read(HEAD_BYTES);
    if (head.length < HEAD_BYTES) return undefined;
    const length = head.readUInt32BE(0);
    const kind = head.readUInt8(4);
    if (length > MAX_PAYLOAD) return undefined;
    const rest = await read(length + SUM_BYTES);
    if (rest.length < length + SUM_BYTES) return undefined;
    const payload = rest.subarray(0, length);
    const sum = this.#next(kind, payload);
    if (!sum.equals(rest.subarray(length))) return undefined;
    const plain =
      kind === HEADER || this.#sealer === undefined ? payload : this.#sealer.open(payload, this.#bound(kind));
    if (plain === undefined) return undefined;
    if (kind !== HEADER && this.#sealer?.isCurrent(payload) === false) this.#outdated = true;
    this.#sum = sum;
    return { kind, payload: plain };
  }

  #next(kind: number, payload: Buffer): Buffer {
    return createHash("sha256")
      .update(this.#sum)
      .update(Buffer.of(kind))
      .update(payload)
      .digest()
      .subarray(0, SUM_BYTES);
  }

  #bound(kind: number): Buffer {
    return Buffer.concat([this.#sum, Buffer.of(kind)]);
  }
}
