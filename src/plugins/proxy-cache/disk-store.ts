/**
 * A zone on disk, a file for each response and index, which all processes of a machine share.
 * Promise: a file is whole or not there (written aside, then renamed), and read only if it says that it is what was looked for;
 * what was not written for the longest time goes when the zone is full; a disk that fails or is full costs hits, never requests.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { openLimitedWarn, type Warn } from "../../base/log.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { CacheStore, VaryIndex } from "./cache-store.ts";
import type { CachedResponse } from "./cached-response.ts";

/** First bytes of a file; another format gets another one. */
const MAGIC = Buffer.from("jotgate cache 1\n");
const PREFIX_BYTES = MAGIC.length + 4;
const META_BYTES_MAX = 1_048_576;
/** What a small file takes on most disks. */
const BLOCK_BYTES = 4_096;
/** Of writes that wait. */
const WRITING_BYTES_MAX = 67_108_864;
const SWEEP_MS = 60_000;
/** A zone that is full is emptied to this part. */
const KEPT_PART = 0.9;
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
const FILE_NAME = /^[0-9a-f]{64}$/;

interface Meta {
  readonly name: string;
  readonly index?: VaryIndex;
  readonly response?: Omit<CachedResponse, "body">;
  readonly bodyBytes: number;
}

export class DiskStore implements CacheStore {
  readonly #folder: string;
  readonly #bytesMax: number;
  readonly #warn: Warn;
  readonly #timer: Timer;
  readonly #underWay = new Set<Promise<unknown>>();
  #writingBytes = 0;
  /** Of the zone, as far as this process knows. */
  #bytes = 0;
  #sweeping: Promise<void> | undefined;

  constructor(folder: string, bytes: number, env: NodeEnv) {
    this.#folder = folder;
    this.#bytesMax = bytes;
    this.#warn = openLimitedWarn(env.log, env.clock);
    this.#timer = env.clock.every(SWEEP_MS, () => this.sweep());
    this.sweep();
  }

  /** Nothing is being read or written. */
  get isIdle(): boolean {
    return this.#underWay.size === 0;
  }

  /** What is being written is. */
  async close(): Promise<void> {
    this.#timer.cancel();
    await Promise.allSettled([...this.#underWay, this.#sweeping]);
  }

  async index(name: string): Promise<VaryIndex | undefined> {
    return (await this.#follow(this.#read(name)))?.meta.index;
  }

  putIndex(name: string, index: VaryIndex): void {
    void this.#follow(this.#write({ name, index, bodyBytes: 0 }, Buffer.alloc(0)));
  }

  async response(name: string): Promise<CachedResponse | undefined> {
    const read = await this.#follow(this.#read(name));
    return read?.meta.response && { ...read.meta.response, body: read.body };
  }

  putResponse(name: string, { body, ...response }: CachedResponse): void {
    void this.#follow(this.#write({ name, response, bodyBytes: body.length }, body));
  }

  async removeIndex(name: string): Promise<boolean> {
    try {
      await unlink(this.#pathOf(name));
      return true;
    } catch {
      return false; // it is not there, or cannot be removed, which reading will show
    }
  }

  /** Removes the oldest files of a zone that is too large. */
  sweep(): void {
    this.#sweeping ??= this.#sweep()
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#sweeping = undefined;
      });
  }

  #follow<T>(operation: Promise<T>): Promise<T> {
    this.#underWay.add(operation);
    void operation.finally(() => this.#underWay.delete(operation));
    return operation;
  }

  #pathOf(name: string): string {
    return join(this.#folder, name.slice(-1), name.slice(-3, -1), name);
  }

  async #read(name: string): Promise<{ meta: Meta; body: Buffer } | undefined> {
    try {
      const file = await open(this.#pathOf(name), "r");
      try {
        const { size } = await file.stat();
        const bytes = Buffer.allocUnsafe(size);
        const { bytesRead } = await file.read(bytes, 0, size, 0);
        return parse(bytes.subarray(0, bytesRead), name);
      } finally {
        await file.close();
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") this.#failed(error);
      return undefined;
    }
  }

  async #write(meta: Meta, body: Buffer): Promise<void> {
    const head = Buffer.from(JSON.stringify(meta), "utf8");
    const bytes = PREFIX_BYTES + head.length + body.length;
    if (head.length > META_BYTES_MAX || this.#writingBytes + bytes > WRITING_BYTES_MAX || bytes > this.#bytesMax)
      return;
    this.#writingBytes += bytes;
    const prefix = Buffer.alloc(PREFIX_BYTES);
    MAGIC.copy(prefix);
    prefix.writeUInt32BE(head.length, MAGIC.length);
    const path = this.#pathOf(meta.name);
    const aside = `${path}.${randomBytes(6).toString("hex")}`;
    try {
      await mkdir(dirname(path), { recursive: true, mode: FOLDER_MODE });
      await writeFile(aside, Buffer.concat([prefix, head, body]), { mode: FILE_MODE, flag: "wx" });
      await rename(aside, path);
      this.#bytes += Math.max(BLOCK_BYTES, bytes);
    } catch (error) {
      await rm(aside, { force: true }).catch(() => undefined);
      this.#failed(error);
    }
    this.#writingBytes -= bytes;
    if (this.#bytes > this.#bytesMax) this.sweep();
  }

  async #sweep(): Promise<void> {
    const files: { path: string; bytes: number; ms: number }[] = [];
    let total = 0;
    for (const path of await this.#files()) {
      const facts = await stat(path).catch(() => undefined);
      if (!facts?.isFile()) continue;
      const bytes = Math.max(BLOCK_BYTES, facts.size);
      total += bytes;
      files.push({ path, bytes, ms: facts.mtimeMs });
    }
    if (total > this.#bytesMax) {
      files.sort((a, b) => a.ms - b.ms);
      for (const { bytes, path } of files) {
        if (total <= this.#bytesMax * KEPT_PART) break;
        await rm(path, { force: true });
        total -= bytes;
      }
    }
    this.#bytes = total;
  }

  async #files(): Promise<string[]> {
    const found: string[] = [];
    // What was being written when a process died, too.
    for (const one of await names(this.#folder))
      for (const two of await names(join(this.#folder, one)))
        for (const file of await names(join(this.#folder, one, two)))
          if (FILE_NAME.test(file.slice(0, 64))) found.push(join(this.#folder, one, two, file));
    return found;
  }

  #failed(error: unknown): void {
    this.#warn({ folder: this.#folder, error: messageOf(error) }, "a cache zone on disk cannot be used");
  }
}

async function names(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder, { withFileTypes: true })).map(({ name }) => name);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw error;
  }
}

/** @returns undefined for what is torn, or was stored under another name */
function parse(bytes: Buffer, name: string): { meta: Meta; body: Buffer } | undefined {
  if (bytes.length < PREFIX_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const bodyAt = PREFIX_BYTES + bytes.readUInt32BE(MAGIC.length);
  if (bodyAt > bytes.length) return undefined;
  const meta = JSON.parse(bytes.toString("utf8", PREFIX_BYTES, bodyAt)) as Meta;
  const body = bytes.subarray(bodyAt);
  return meta.name === name && meta.bodyBytes === body.length ? { meta, body } : undefined;
}
