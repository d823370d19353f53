/**
 * The store port on a file or folder that people write: read-only, followed, taken whole or not at all.
 * Promise: what is shown is always the last content that was sound; while the newest is not, every call says what is wrong
 * with it, so that whoever follows keeps what it has. A file is read once it has stopped changing.
 */
import { realpathSync, statSync } from "node:fs";
import type { Clock, Timer } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/errors.ts";
import { keyOf } from "../../model/keys.ts";
import type {
  Change,
  GetResult,
  KeyRange,
  KeyValue,
  ListOptions,
  ListPage,
  Revision,
  Store,
  StoreSource,
  TxnResult,
  WatchEnd,
  WatchSink,
} from "../store.ts";
import { controlKeys } from "../store-keys.ts";
import { compareKeys, isInRange } from "../store-limits.ts";
import { type FileEnvironment, type FileFault, faultText } from "./file-document.ts";
import { FaultPlaces, type FileRecord, filesAt, readRecords, readTexts } from "./file-records.ts";

interface FileSourceOptions {
  /** A file, or a folder with files. */
  readonly path: string;
  readonly prefix: string;
  readonly environment: FileEnvironment;
  readonly passphrase: string | undefined;
  /** What is wrong with the records, each for itself and all together. */
  readonly judge: (records: readonly FileRecord[], places: FaultPlaces) => readonly FileFault[];
  readonly clock: Clock;
}

interface FileSource extends StoreSource {
  /** Idempotent. */
  close(): void;
}

/** Looks are cheap, and work where notifications do not come: network mounts, symbolic links that are swapped. */
const LOOK_MS = 500;
/** As often as an etcd member answers progress requests. */
const BEAT_MS = 2_000;
const PAGE_SIZE = 1_000;
const FAULTS_SAID_MAX = 5;

/** Reads the file at once; what is wrong with it is said by each call. */
export function openFileSource(options: FileSourceOptions): FileSource {
  const content = new FileContent(options);
  content.look();
  content.look(); // the first look of all needs no second one to see that it has settled
  const looking = options.clock.every(LOOK_MS, () => content.look());
  const open = (): Store => new FileStore(content, options.clock);
  return { kind: "file", open, openMember: open, close: () => looking.cancel() };
}

const IDENTITY = JSON.stringify({ id: "file", epoch: 1 });

type Listener = (revision: Revision, changes: readonly Change[]) => void;

class FileContent {
  readonly #options: FileSourceOptions;
  readonly #listeners = new Set<Listener>();
  readonly #refusals = new Set<() => void>();
  #kvs: ReadonlyMap<string, KeyValue> = new Map();
  #sorted: readonly KeyValue[] | undefined;
  #seen = "";
  #taken = "";
  revision: Revision = 0n;
  fault: CodedError | undefined;

  constructor(options: FileSourceOptions) {
    this.#options = options;
  }

  /** Takes the content in once it looks the same twice. */
  look(): void {
    const seen = signatureOf(this.#options.path);
    const settled = seen === this.#seen;
    this.#seen = seen;
    if (!settled || seen === this.#taken) return;
    this.#taken = seen;
    this.#read();
  }

  get(key: string): KeyValue | undefined {
    return this.#kvs.get(key);
  }

  sorted(): readonly KeyValue[] {
    this.#sorted ??= [...this.#kvs.values()].sort((a, b) => compareKeys(a.key, b.key));
    return this.#sorted;
  }

  listen(listener: Listener, refused: () => void): () => void {
    this.#listeners.add(listener);
    this.#refusals.add(refused);
    return () => {
      this.#listeners.delete(listener);
      this.#refusals.delete(refused);
    };
  }

  #read(): void {
    const { path, environment, passphrase, judge } = this.#options;
    const texts = readTexts([path]);
    if ("fault" in texts) {
      this.#refuse([texts.fault]);
      return;
    }
    const { records, faults } = readRecords(texts, { environment, passphrase });
    const all = faults.length > 0 ? faults : judge(records, new FaultPlaces(texts));
    if (all.length > 0) this.#refuse(all);
    else this.#take(records);
  }

  #refuse(faults: readonly FileFault[]): void {
    const listed = faults.slice(0, FAULTS_SAID_MAX).map(faultText).join("; ");
    const more =
      faults.length > FAULTS_SAID_MAX ? `; and ${faults.length - FAULTS_SAID_MAX} more (jotgate validate)` : "";
    this.fault = new CodedError("CONFIG_INVALID", { message: `${listed}${more}` });
    for (const refused of this.#refusals) refused();
  }

  #take(records: readonly FileRecord[]): void {
    this.fault = undefined;
    const revision = this.#next();
    const kvs = new Map<string, KeyValue>();
    const changes: Change[] = [];
    const { prefix } = this.#options;
    const values = records.map(({ kind, id, value }) => [keyOf(prefix, kind.name, id), JSON.stringify(value)] as const);
    // Never nothing at all, which nodes take for a wrong prefix.
    for (const [key, text] of [[controlKeys(prefix).identity, IDENTITY] as const, ...values]) {
      const bytes = Buffer.from(text, "utf8");
      const held = this.#kvs.get(key);
      const same = held?.value.equals(bytes) === true;
      const kv: KeyValue = same && held ? held : changed(key, bytes, revision, held);
      kvs.set(key, kv);
      if (!same) changes.push({ type: "put", key, kv });
    }
    for (const key of this.#kvs.keys()) if (!kvs.has(key)) changes.push({ type: "delete", key, kv: undefined });
    if (changes.length === 0 && this.revision > 0n) return;
    this.#kvs = kvs;
    this.#sorted = undefined;
    this.revision = revision;
    for (const listener of this.#listeners) listener(revision, changes);
  }

  /** Milliseconds since 1970, so that a node that is started anew goes on counting. */
  #next(): Revision {
    const now = BigInt(this.#options.clock.nowMs());
    return now > this.revision ? now : this.revision + 1n;
  }
}

function changed(key: string, value: Buffer, revision: Revision, held: KeyValue | undefined): KeyValue {
  const createRevision = held?.createRevision ?? revision;
  return { key, value, modRevision: revision, createRevision, version: (held?.version ?? 0n) + 1n, lease: 0n };
}

/** Of all files: which they really are, their size and time. */
function signatureOf(path: string): string {
  try {
    return filesAt(path)
      .map((file) => {
        const { ino, size, mtimeMs } = statSync(file);
        return [file, realpathSync(file), ino, size, mtimeMs].join(" ");
      })
      .join("\n");
  } catch (error) {
    return messageOf(error); // gone for the moment, or for good: reading says so
  }
}

class FileStore implements Store {
  readonly kind = "file";
  readonly #content: FileContent;
  readonly #clock: Clock;
  readonly #closing = new AbortController();

  constructor(content: FileContent, clock: Clock) {
    this.#content = content;
    this.#clock = clock;
  }

  async get(key: string): Promise<GetResult> {
    const { revision, fault } = this.#content;
    if (fault) throw fault;
    return { kv: this.#content.get(key), revision, clusterId: "file" };
  }

  async *list(range: KeyRange, options: ListOptions = {}): AsyncGenerator<ListPage> {
    const { revision, fault } = this.#content;
    if (fault) throw fault;
    if (options.revision !== undefined && options.revision !== revision)
      throw new CodedError("STORE_COMPACTED", { message: `revision ${options.revision} of the file is gone` });
    const all = this.#content.sorted().filter(({ key }) => isInRange(key, range));
    const kvs = options.keysOnly ? all.map((kv) => ({ ...kv, value: Buffer.alloc(0) })) : all;
    const size = options.pageSize ?? PAGE_SIZE;
    let at = 0;
    do {
      yield { revision, kvs: kvs.slice(at, at + size), more: at + size < kvs.length };
      at += size;
    } while (at < kvs.length);
  }

  watch(range: KeyRange, after: Revision, sink: WatchSink, signal: AbortSignal): Promise<WatchEnd> {
    const stopped = AbortSignal.any([signal, this.#closing.signal]);
    const content = this.#content;
    return new Promise((resolve) => {
      if (stopped.aborted) return resolve({ kind: "stopped" });
      if (content.fault) return resolve({ kind: "stopped" }); // the next call says why
      // No history is kept: whoever is not where the file is lists it.
      if (after !== content.revision) return resolve({ kind: "compacted", at: content.revision });
      let timer: Timer | undefined;
      let unlisten: () => void = () => undefined;
      const end = (why: WatchEnd): void => {
        timer?.cancel();
        unlisten();
        stopped.removeEventListener("abort", stop);
        resolve(why);
      };
      const stop = (): void => end({ kind: "stopped" });
      const guard = (tell: () => void): void => {
        try {
          tell();
        } catch (thrown) {
          end({ kind: "broken", cause: new Error(`a change could not be applied: ${messageOf(thrown)}`) });
        }
      };
      stopped.addEventListener("abort", stop, { once: true });
      unlisten = content.listen((revision, changes) => {
        const ours = changes.filter(({ key }) => isInRange(key, range));
        guard(() => (ours.length > 0 ? sink.batch(revision, ours) : sink.progress(revision)));
      }, stop);
      timer = this.#clock.every(BEAT_MS, () => guard(() => sink.progress(content.revision)));
      guard(() => sink.created(content.revision));
    });
  }

  txn(): Promise<TxnResult> {
    return refused();
  }

  grantLease(): Promise<bigint> {
    return refused();
  }

  keepAlive(): Promise<number> {
    return refused();
  }

  revokeLease(): Promise<void> {
    return refused();
  }

  compact(): Promise<void> {
    return refused();
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }
}

function refused(): Promise<never> {
  return Promise.reject(
    new CodedError("STORE_DENIED", { message: "the configuration comes from a file: change the file" }),
  );
}
