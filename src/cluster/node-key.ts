/**
 * The key by which a node knows that an admin asks it: made by the admins, kept beside the registry under
 * `P-jotgate/node-key`, sealed under the keyring where there is one.
 * Promise: it is compared in constant time, never logged, and replaced every day; the former one is taken until the next
 * change, so that no call is refused while nodes and admins read at different times.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { type Clock, sleep } from "../base/clock.ts";
import type { Keyring } from "../base/keyring.ts";
import type { KeyValue, Store } from "../store/store.ts";
import { controlKeys } from "../store/store-keys.ts";

interface NodeKeyOptions {
  readonly store: Store;
  readonly prefix: string;
  readonly keyring: Keyring | undefined;
  readonly clock: Clock;
}

/** Newest first; at most two. */
interface NodeKeys {
  readonly keys: readonly string[];
  /** Wall time of the newest. */
  readonly made: number;
  readonly isSealed: boolean;
}

/** What a text is sealed for. */
const BOUND = "node-key";
const RENEW_MS = 86_400_000;
const REMEMBER_MS = 10_000;
const READ_EVERY_MS = 1_000;
const WAITING_MAX = 64;
const TRIES = 3;

/** The admin's side: the key to show, made when there is none or it is old. */
export class NodeKeyring {
  readonly #options: NodeKeyOptions;
  #known: { readonly key: Promise<string>; readonly untilMs: number } | undefined;

  constructor(options: NodeKeyOptions) {
    this.#options = options;
  }

  /** Rejects when the store does not answer, and where the key is sealed and this admin has no keyring. */
  current(): Promise<string> {
    const now = this.#options.clock.monotonicMs();
    if (this.#known && this.#known.untilMs > now) return this.#known.key;
    const known = { key: this.#make(), untilMs: now + REMEMBER_MS };
    this.#known = known;
    known.key.catch(() => {
      if (this.#known === known) this.#known = undefined;
    });
    return known.key;
  }

  async #make(): Promise<string> {
    const { store, prefix, keyring, clock } = this.#options;
    const key = keyOf(prefix);
    for (let tries = TRIES; ; tries--) {
      const { kv } = await store.get(key);
      if (kv && keyring === undefined && typeof parse(kv.value.toString("utf8"))?.["sealed"] === "string")
        throw new Error(
          "the key between admins and nodes is sealed: give this admin the encryption.keyring of the others",
        );
      const held = kv && read(kv, keyring);
      const [newest] = held?.keys ?? [];
      const isCurrent = held !== undefined && clock.nowMs() - held.made < RENEW_MS;
      if (newest !== undefined && isCurrent && held.isSealed === (keyring !== undefined)) return newest;
      const keys = [randomBytes(32).toString("base64url"), ...(newest === undefined ? [] : [newest])];
      const { succeeded } = await store.txn({
        compare: [{ key, target: "modRevision", is: "==", value: kv?.modRevision ?? 0n }],
        then: [{ op: "put", key, value: write({ keys, made: clock.nowMs() }, keyring) }],
      });
      if (succeeded && keys[0] !== undefined) return keys[0];
      if (tries === 0) throw new Error("the key between admins and nodes is being changed by others");
    }
  }
}

/** A node's side: whether a key is one of the admins'. */
export class NodeKeyCheck {
  readonly #options: NodeKeyOptions;
  #digests: readonly Buffer[] = [];
  #readMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;
  #waiting = 0;

  constructor(options: NodeKeyOptions) {
    this.#options = options;
  }

  /** A key that is not known is looked for in the store, at most once a second. Never rejects. */
  async admits(given: unknown): Promise<boolean> {
    if (typeof given !== "string" || given.length !== 43) return false;
    if (this.#knows(given)) return true;
    if (this.#waiting >= WAITING_MAX) return false;
    this.#waiting++;
    try {
      this.#reading ??= this.#read().finally(() => {
        this.#reading = undefined;
      });
      await this.#reading;
    } catch {
      return false; // the store is away, which others tell
    } finally {
      this.#waiting--;
    }
    return this.#knows(given);
  }

  #knows(given: string): boolean {
    const digest = digestOf(given);
    let found = false;
    for (const one of this.#digests) if (timingSafeEqual(one, digest)) found = true;
    return found;
  }

  async #read(): Promise<void> {
    const { store, prefix, keyring, clock } = this.#options;
    const restMs = this.#readMs + READ_EVERY_MS - clock.monotonicMs();
    if (restMs > 0) await sleep(clock, restMs);
    this.#readMs = clock.monotonicMs();
    const { kv } = await store.get(keyOf(prefix));
    this.#digests = (kv && read(kv, keyring)?.keys.map(digestOf)) ?? [];
  }
}

function keyOf(prefix: string): string {
  return `${controlKeys(prefix).outside}node-key`;
}

function digestOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

function write(
  held: { readonly keys: readonly string[]; readonly made: number },
  keyring: Keyring | undefined,
): Buffer {
  const text = JSON.stringify(held);
  return Buffer.from(JSON.stringify(keyring ? { v: 1, sealed: keyring.seal(text, BOUND) } : { v: 1, ...held }), "utf8");
}

/** @returns undefined for what is no key, or cannot be opened: admins then make a new one */
function read(kv: KeyValue, keyring: Keyring | undefined): NodeKeys | undefined {
  const stored = parse(kv.value.toString("utf8"));
  const { sealed } = stored ?? {};
  const opened = typeof sealed === "string" ? keyring?.open(sealed, BOUND) : undefined;
  const plain = opened?.kind === "opened" ? parse(opened.text) : sealed === undefined ? stored : undefined;
  const { keys, made } = plain ?? {};
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === "string") || typeof made !== "number")
    return undefined;
  return { keys: keys.slice(0, 2), made, isSealed: sealed !== undefined };
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined; // not written by an admin
  }
}
