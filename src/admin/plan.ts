/**
 * What a write will do, before it does it: the conditions and operations of one transaction.
 * Parts of the engine and its hooks add to a plan; commit.ts carries it out.
 */
import { GatewayError } from "../base/errors.ts";
import type { Compare, LeaseId, Operation, Txn } from "../store/store.ts";

/** etcd's default; both sides of a transaction are bound by it. */
const PLAN_MAX = 128;

export class Plan {
  readonly compare: Compare[] = [];
  readonly operations: Operation[] = [];
  readonly #written = new Set<string>();

  /** The key must still be as it was read. @param modRevision 0n for absent */
  expect(key: string, modRevision: bigint): this {
    this.compare.push({ key, target: "modRevision", is: "==", value: modRevision });
    return this;
  }

  /** The key must exist. */
  require(key: string): this {
    this.compare.push({ key, target: "version", is: ">", value: 0n });
    return this;
  }

  put(key: string, value: string | Buffer, lease?: LeaseId): this {
    if (this.#written.has(key)) return this; // a transaction writes a key once; what was planned first holds
    this.#written.add(key);
    const bytes = typeof value === "string" ? Buffer.from(value, "utf8") : value;
    this.operations.push({ op: "put", key, value: bytes, ...(lease !== undefined && { lease }) });
    return this;
  }

  delete(key: string): this {
    if (this.#written.has(key)) return this;
    this.#written.add(key);
    this.operations.push({ op: "delete", key });
    return this;
  }

  /** @throws GatewayError STORE_TOO_LARGE when it does not fit one transaction */
  toTxn(): Txn {
    const size = Math.max(this.compare.length, this.operations.length);
    if (size <= PLAN_MAX) return { compare: this.compare, then: this.operations };
    throw new GatewayError("STORE_TOO_LARGE", {
      message: `the change needs ${size} operations in one transaction, at most ${PLAN_MAX} are possible`,
    });
  }
}
