/**
 * Reads a last-known-good file up to its last sound commit; what follows (a write that was cut off) does not count.
 */
import { type FileHandle, open } from "node:fs/promises";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { Slice } from "../../store/store-follow.ts";
import type { SavedPosition } from "../sync-status.ts";
import type { RestoredRecord } from "../table.ts";
import { Chain, COMMIT, HEADER, MAGIC, RECORDS } from "./lkg-frames.ts";
import { decodeEntries, decodeHeader, decodePosition, type FileEntry, FORMAT } from "./lkg-records.ts";
import type { Sealer } from "./sealer.ts";

interface SoundFile {
  readonly kind: "sound";
  readonly position: SavedPosition;
  readonly records: ReadonlyMap<string, RestoredRecord>;
  /** Bytes up to and with the last sound commit. */
  readonly bytes: number;
  /** Of them, those of the first commit. */
  readonly baseBytes: number;
  readonly sum: Buffer;
  /** Something unsound followed. */
  readonly torn: boolean;
  /** Some of it is under an older key of the keyring. */
  readonly outdated: boolean;
}

type ReadResult = SoundFile | { readonly kind: "none" } | { readonly kind: "unusable"; readonly reason: string };

export async function readLastKnownGood(
  file: string,
  prefix: string,
  sealer: Sealer | undefined,
  clock: Clock,
): Promise<ReadResult> {
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT"
      ? { kind: "none" }
      : { kind: "unusable", reason: messageOf(error) };
  }
  try {
    return await readFrames(handle, prefix, sealer, clock);
  } catch (error) {
    return { kind: "unusable", reason: messageOf(error) };
  } finally {
    await handle.close();
  }
}

async function readFrames(
  handle: FileHandle,
  prefix: string,
  sealer: Sealer | undefined,
  clock: Clock,
): Promise<ReadResult> {
  const { size } = await handle.stat();
  let at = 0;
  const read = async (bytes: number): Promise<Buffer> => {
    const wanted = Math.min(bytes, size - at); // a garbage length must not cost memory
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(wanted), 0, wanted, at);
    at += bytesRead;
    return buffer.subarray(0, bytesRead);
  };
  if (!(await read(MAGIC.length)).equals(MAGIC)) return unusable("it is not a last-known-good file");
  const chain = new Chain(sealer);
  const header = await chain.decode(read);
  if (header?.kind !== HEADER) return unusable("its checksum is wrong");
  const { format, prefix: theirs, sealed } = decodeHeader(header.payload);
  if (format !== FORMAT) return unusable(`its format is ${format}, not ${FORMAT}`);
  if (theirs !== prefix) return unusable(`it is of the prefix ${theirs}, not ${prefix}`);
  if (sealed !== (sealer !== undefined))
    return unusable(sealed ? "it is encrypted and no keyring is set" : "it is not encrypted and a keyring is set");

  const records = new Map<string, RestoredRecord>();
  const slice = new Slice(clock);
  let pending: FileEntry[] = [];
  let sound: Omit<SoundFile, "torn" | "outdated"> | undefined;
  for (let frame = await chain.decode(read); frame !== undefined; frame = await chain.decode(read)) {
    if (frame.kind === RECORDS) pending.push(...decodeEntries(frame.payload));
    if (slice.isOver()) await slice.yield();
    if (frame.kind !== COMMIT) continue;
    for (const entry of pending) {
      if (entry.record === undefined) records.delete(entry.key);
      else records.set(entry.key, entry);
      if (slice.isOver()) await slice.yield();
    }
    pending = [];
    sound = {
      kind: "sound",
      position: decodePosition(frame.payload),
      records,
      bytes: at,
      baseBytes: sound?.baseBytes ?? at,
      sum: chain.sum,
    };
  }
  if (sound === undefined)
    return unusable("its checksum is wrong, or it was encrypted with a key that is not in the keyring");
  return { ...sound, torn: sound.bytes < size, outdated: chain.outdated };
}

function unusable(reason: string): ReadResult {
  return { kind: "unusable", reason };
}
