/**
 * The one door to lmdb. Its types for `import` do not compile under our settings (an export assignment, seen in 3.5.6),
 * those for `require` do; so it is loaded the CommonJS way.
 */

import { statfsSync } from "node:fs";
import { createRequire } from "node:module";
import { CodedError, messageOf } from "../../base/errors.ts";

type Lmdb = typeof import("lmdb", { with: { "resolution-mode": "require" }});
/** Keys and values are bytes in all our databases. */
export type Database = import("lmdb", { with: { "resolution-mode": "require" }}).Database<Buffer, Buffer>;
export type RootDatabase = import("lmdb", { with: { "resolution-mode": "require" }}).RootDatabase<Buffer, Buffer>;

// True: this is the module that the type describes.
export const { open } = createRequire(import.meta.url)("lmdb") as Lmdb;

/**
 * What the embedded store says when a write fails: why, and what helps.
 * Promise: no rejection of the library is left untaken, whatever failed; one would end the process.
 */

const CAUSE_MS = 1_000;
/** With less, a failed write is put down to the disk: a commit takes some pages at once. */
const FREE_MIN = 1024 * 1024;

/** What LMDB throws when it cannot write, in our words. A short write to a full disk is an input/output error to it. */
export async function storageError(thrown: unknown, folder: string): Promise<CodedError> {
  const cause = await commitError(thrown);
  const message = messageOf(cause);
  if (/MDB_MAP_FULL|No space left|ENOSPC/i.test(message) || freeBytes(folder) < FREE_MIN) {
    return new CodedError("STORE_FULL", {
      message: `there is no space left for the embedded store in ${folder}; traffic goes on, writes work again when there is room`,
      cause,
    });
  }
  return new CodedError("STORE_UNAVAILABLE", {
    message: `the embedded store in ${folder} cannot write: ${message}`,
    cause,
  });
}

/** The cause of a failed commit. The library rejects a promise of its own with it, which has to be taken here. */
async function commitError(thrown: unknown): Promise<unknown> {
  const cause = thrown instanceof Error ? (thrown as { commitError?: unknown }).commitError : undefined;
  if (!(cause instanceof Promise)) return thrown;
  // Told a moment later by the write thread; of some codes never.
  const late = new Promise((resolve) => void setTimeout(resolve, CAUSE_MS, thrown).unref());
  return await Promise.race([cause.catch((error: unknown) => error), late]);
}

function freeBytes(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY; // then it is something else
  }
}
