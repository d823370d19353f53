/**
 * What a write will do, before it does it: the conditions and operations of one transaction.
 * Guards and steps add to a plan; commit.ts carries it out.
 */
import { CodedError } from "../../base/errors.ts";
import type { Compare, LeaseId, Operation, Txn } from "../../store/store.ts";

/** etcd's default; both sides of a transaction are bound by it. */
const PLAN_MAX = 128;

/** What a plan does to one key. */
type Planned = Extract<Operation, { readonly op: "put" | "delete" }>;

export class Plan {
  readonly #lastHolds: boolean;
  readonly #compare = new Map<string, Compare>();
  readonly #operations = new Map<string, Planned>();

  /** @param whichHolds when a key is planned twice, which a transaction cannot do; default: what was planned first */
  constructor(whichHolds: "first" | "last" = "first") {
    this.#lastHolds = whichHolds === "last";
  }

  get operations(): readonly Planned[] {
    return [...this.#operations.values()];
  }

  /** Of all values it puts. */
  get bytes(): number {
    return this.operations.reduce((sum, one) => sum + one.key.length + (one.op === "put" ? one.value.length : 0), 0);
  }

  /** Whether another operation fits the transaction. */
  get hasRoom(): boolean {
    return this.#operations.size < PLAN_MAX;
  }

  /** What is planned for a key. */
  get(key: string): Planned | undefined {
    return this.#operations.get(key);
  }

  /** The key must still be as it was read, first of all. @param modRevision 0n for absent */
  expect(key: string, modRevision: bigint): this {
    if (this.#compare.get(key)?.target !== "modRevision") {
      this.#compare.set(key, { key, target: "modRevision", is: "==", value: modRevision });
    }
    return this;
  }

  /** The key must exist, unless this very plan puts it or expects it as it was. */
  require(key: string): this {
    if (!this.#compare.has(key) && this.#operations.get(key)?.op !== "put") {
      this.#compare.set(key, { key, target: "version", is: ">", value: 0n });
    }
    return this;
  }

  put(key: string, value: string | Buffer, lease?: LeaseId): this {
    const bytes = typeof value === "string" ? Buffer.from(value, "utf8") : value;
    return this.#add({ op: "put", key, value: bytes, ...(lease !== undefined && { lease }) });
  }

  delete(key: string): this {
    return this.#add({ op: "delete", key });
  }

  /** The same conditions and deletions, without anything that needs room. */
  deletionsOnly(): Plan {
    const plan = new Plan();
    for (const [key, condition] of this.#compare) plan.#compare.set(key, condition);
    for (const [key, one] of this.#operations) if (one.op === "delete") plan.#operations.set(key, one);
    return plan;
  }

  #add(operation: Planned): this {
    if (this.#lastHolds || !this.#operations.has(operation.key)) this.#operations.set(operation.key, operation);
    return this;
  }

  /** @throws CodedError STORE_TOO_LARGE when it does not fit one transaction */
  toTxn(): Txn {
    const size = Math.max(this.#compare.size, this.#operations.size);
    if (size <= PLAN_MAX) return { compare: [...this.#compare.values()], then: this.operations };
    throw new CodedError("STORE_TOO_LARGE", {
      message: `the change needs ${size} operations in one transaction, at most ${PLAN_MAX} are possible`,
    });
  }
}
