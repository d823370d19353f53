/**
 * Looks through the file of the embedded store before LMDB maps it: what is not a whole and sound file would end the process
 * by a signal, or read as an empty store.
 * Promise: a sound file is never refused; each page that can be reached is looked at, none is written. Source of the layout:
 * mdb.c of the library (page header of 24 bytes with the transaction id, data version 2, little endian).
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { CodedError, messageOf } from "../../base/errors.ts";

const MAGIC = 0xbeefc0de;
const VERSION = 2;
const PAGE_HEADER = 24;
const META_BYTES = 160;
const DATABASE_BYTES = 48;
const NODE_HEADER = 8;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const IN_OVERFLOW = 0x01;
const IS_DATABASE = 0x02;
const MAX_DEPTH = 32;

interface Meta {
  readonly pageSize: number;
  readonly lastPage: number;
  readonly txn: bigint;
  /** Of the free pages and of the databases; undefined: empty. */
  readonly roots: readonly (number | undefined)[];
}

/** @throws CodedError STORE_UNAVAILABLE naming the file, what is wrong and the cure */
export function checkStoreFile(folder: string): void {
  const file = join(folder, "data.mdb");
  const stats = statSync(file, { throwIfNoEntry: false });
  if (stats === undefined && !existsSync(join(folder, "lock.mdb"))) return; // a first start
  try {
    if (stats === undefined) throw new Damage("it is gone, though the folder has been in use");
    if (!stats.isFile()) throw new Damage("it is not a file");
    const handle = openSync(file, "r");
    try {
      new Walk(handle).check();
    } finally {
      closeSync(handle);
    }
  } catch (thrown) {
    if (!(thrown instanceof Damage)) throw thrown;
    throw new CodedError("STORE_UNAVAILABLE", {
      message:
        `the local store in ${file} is damaged: ${messageOf(thrown)}. Put a copy of the file back, ` +
        "or move the folder away to begin with an empty store",
    });
  }
}

class Damage extends Error {}

class Walk {
  readonly #handle: number;
  readonly #bytes: number;
  readonly #seen = new Set<number>();
  #pageSize = 4_096;
  #lastPage = 0;

  constructor(handle: number) {
    this.#handle = handle;
    this.#bytes = fstatSync(handle).size;
  }

  check(): void {
    if (this.#bytes === 0) throw new Damage("it is empty");
    const first = this.#meta(0);
    if (first === undefined) throw new Damage("it does not begin as one");
    const second = this.#meta(first.pageSize);
    // The newer of the two counts; one that was cut off while it was written does not.
    const meta = second !== undefined && second.txn > first.txn ? second : first;
    this.#pageSize = meta.pageSize;
    this.#lastPage = meta.lastPage;
    for (const root of meta.roots) if (root !== undefined) this.#page(root, 0);
  }

  #meta(at: number): Meta | undefined {
    const bytes = this.#read(at, PAGE_HEADER + META_BYTES);
    const at0 = PAGE_HEADER;
    if (bytes.length < PAGE_HEADER + META_BYTES) return undefined;
    if ((bytes.readUInt16LE(18) & META) === 0) return undefined;
    if (bytes.readUInt32LE(at0) !== MAGIC || bytes.readUInt32LE(at0 + 4) !== VERSION) return undefined;
    const databases = at0 + 24;
    const pageSize = bytes.readUInt32LE(databases);
    if (pageSize < 256 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return undefined;
    const lastPage = Number(bytes.readBigUInt64LE(databases + 2 * DATABASE_BYTES));
    const txn = bytes.readBigUInt64LE(databases + 2 * DATABASE_BYTES + 8);
    return { pageSize, lastPage, txn, roots: [0, 1].map((i) => rootAt(bytes, databases + i * DATABASE_BYTES)) };
  }

  #page(number: number, depth: number): void {
    if (depth > MAX_DEPTH || this.#seen.has(number)) throw new Damage(`page ${number} is reached twice`);
    this.#seen.add(number);
    const page = this.#whole(number, 1);
    const flags = page.readUInt16LE(18);
    const lower = page.readUInt16LE(20);
    const upper = page.readUInt16LE(22);
    if ((flags & (BRANCH | LEAF)) === 0 || lower % 2 !== 0 || lower > upper || upper > this.#pageSize - PAGE_HEADER)
      throw new Damage(`page ${number} is not what it should be`);
    for (let i = 0; i < lower / 2; i++) {
      const at = PAGE_HEADER + page.readUInt16LE(PAGE_HEADER + 2 * i);
      if (at < PAGE_HEADER + upper || at + NODE_HEADER > this.#pageSize) throw new Damage(`page ${number} is torn`);
      this.#node(page, at, (flags & BRANCH) !== 0, number, depth);
    }
  }

  #node(page: Buffer, at: number, isBranch: boolean, number: number, depth: number): void {
    const low = page.readUInt16LE(at) + page.readUInt16LE(at + 2) * 65_536;
    const flags = page.readUInt16LE(at + 4);
    const data = at + NODE_HEADER + page.readUInt16LE(at + 6);
    const torn = new Damage(`page ${number} is torn`);
    if (data > this.#pageSize) throw torn;
    if (isBranch) {
      this.#page(low + flags * 2 ** 32, depth + 1);
      return;
    }
    if ((flags & IN_OVERFLOW) !== 0) {
      if (data + 8 > this.#pageSize) throw torn;
      this.#overflow(Number(page.readBigUInt64LE(data)), low);
      return;
    }
    if (data + low > this.#pageSize) throw torn;
    if ((flags & IS_DATABASE) === 0) return;
    if (low !== DATABASE_BYTES) throw torn;
    const root = rootAt(page, data);
    if (root !== undefined) this.#page(root, depth + 1);
  }

  #overflow(number: number, bytes: number): void {
    const pages = Math.floor((PAGE_HEADER - 1 + bytes) / this.#pageSize) + 1;
    const head = this.#whole(number, pages);
    if ((head.readUInt16LE(18) & OVERFLOW) === 0 || head.readUInt32LE(20) < pages)
      throw new Damage(`page ${number} is not what it should be`);
  }

  /** The first of some pages in a row, all of which the file has. */
  #whole(number: number, pages: number): Buffer {
    if (number < 2 || number + pages - 1 > this.#lastPage) throw new Damage(`page ${number} lies outside`);
    if ((number + pages) * this.#pageSize > this.#bytes) throw new Damage("its end is missing");
    const page = this.#read(number * this.#pageSize, this.#pageSize);
    if (Number(page.readBigUInt64LE(0)) !== number) throw new Damage(`page ${number} is not what it should be`);
    return page;
  }

  #read(at: number, length: number): Buffer {
    const buffer = Buffer.allocUnsafe(length);
    return buffer.subarray(0, readSync(this.#handle, buffer, 0, length, at));
  }
}

function rootAt(bytes: Buffer, at: number): number | undefined {
  const root = bytes.readBigUInt64LE(at + 40);
  return root === NO_PAGE ? undefined : Number(root);
}
