/**
 * A node's side of the barrier: once it has applied an ask, it says so under `P-jotgate/acks/<id>`.
 * The ask is later in the same watch than what it asks about, so the acknowledgement proves that too.
 */
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { LeaseId, Revision, Store } from "../store/store.ts";
import { controlKeys } from "../store/store-keys.ts";

/** A record that a node has not taken, or that makes it refuse requests. */
export interface RecordRefusal {
  /** Store key. */
  readonly key: string;
  /** Of the record. */
  readonly revision: Revision;
  /** Without any secret. */
  readonly reason: string;
}

interface AcknowledgerOptions {
  /** Long-lived; closed by its owner. */
  readonly store: Store;
  readonly prefix: string;
  readonly id: string;
  readonly log: Log;
  /** The node's lease, so that the acknowledgement goes with the node. */
  readonly lease: () => LeaseId | undefined;
  /** Resolves when every worker has applied `revision`; default: at once. */
  readonly settled?: (revision: Revision) => Promise<unknown>;
  /** How far the node is, and the hash of its configuration there; default: it does not say. */
  readonly state?: (() => { readonly applied: string; readonly hash: string }) | undefined;
  /** The newest refusals; default: there are none. */
  readonly refusals?: (() => readonly RecordRefusal[]) | undefined;
}

/** Of one acknowledgement; it is a record of the store. */
const REFUSALS_MAX = 16;
/** Acknowledgements follow each other, and an asker may see only the last: each names the refusals of some before it. */
const REPEATED = 4;

export class Acknowledger {
  readonly #options: AcknowledgerOptions;
  readonly #ask: string;
  readonly #key: string;
  /** The newest revision asked about; older ones are answered with it. */
  #wanted: Revision = 0n;
  #written: Revision = 0n;
  /** Revisions that were acknowledged last. */
  readonly #acked: Revision[] = [];
  #working: Promise<void> | undefined;
  #stopped = false;

  constructor(options: AcknowledgerOptions) {
    this.#options = options;
    const keys = controlKeys(options.prefix);
    this.#ask = keys.ask;
    this.#key = keys.acks + options.id;
  }

  /** For the watcher's `onControl`: takes what is an ask, ignores the rest. Never throws, never waits. */
  control(change: { readonly key: string; readonly kv: unknown; readonly revision: Revision }): void {
    if (change.key !== this.#ask || change.kv === undefined || this.#stopped) return;
    if (change.revision > this.#wanted) this.#wanted = change.revision;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** The node is registered anew: what was acknowledged under its former lease went with that, or could not be said at all. */
  again(): void {
    if (this.#wanted === 0n || this.#stopped) return;
    this.#written = 0n;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** What is under way may still be written; it is not waited for, because the store may be away. */
  async stop(): Promise<void> {
    this.#stopped = true;
  }

  async #work(): Promise<void> {
    while (this.#written < this.#wanted && !this.#stopped) {
      const revision = this.#wanted;
      try {
        await this.#options.settled?.(revision);
        await this.#put(revision);
      } catch (error) {
        this.#options.log.debug({ error: messageOf(error) }, "an acknowledgement could not be written"); // the asker times out, or asks again
      }
      this.#written = revision;
    }
  }

  async #put(revision: Revision): Promise<void> {
    const [oldest = 0n] = this.#acked;
    const since = oldest < revision ? oldest : 0n; // said again, under another lease
    const refused = (this.#options.refusals?.() ?? [])
      .filter((one) => one.revision > since && one.revision <= revision)
      .slice(-REFUSALS_MAX)
      .map((one) => ({ ...one, revision: String(one.revision) }));
    const state = this.#options.state?.();
    const shown = state && { at: String(newer(BigInt(state.applied), revision)), hash: state.hash };
    const acknowledgement = { applied: revision.toString(), ...shown, ...(refused.length > 0 ? { refused } : {}) };
    const value = Buffer.from(JSON.stringify(acknowledgement), "utf8");
    if (this.#acked.at(-1) !== revision) this.#acked.push(revision);
    if (this.#acked.length > REPEATED) this.#acked.shift();
    const lease = this.#options.lease();
    if (lease === undefined) return; // not registered, so nobody waits for this node
    await this.#options.store.txn({ compare: [], then: [{ op: "put", key: this.#key, value, lease }] });
  }
}

function newer(one: Revision, other: Revision): Revision {
  return one > other ? one : other;
}
