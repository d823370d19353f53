/**
 * One upstream of one record, compiled at first use or at once, compiled again when its certificate changes.
 * Requests ask the slot anew each time, so a change reaches them without touching what points to it.
 */
import { isCodedError, messageOf } from "../../base/errors.ts";
import type { StoredValue } from "../../model/record.ts";
import type { UpstreamChoice } from "../routes/route-unit.ts";
import type { LiveUpstreamUnit, UpstreamIds } from "./live-upstream-unit.ts";
import type { UpstreamRecord } from "./upstream-record.ts";
import type { Upstreams } from "./upstreams.ts";

export const NO_UPSTREAM: UpstreamChoice = Object.freeze({ kind: "none" });
const UNCERTIFIED_UPSTREAM: UpstreamChoice = Object.freeze({ kind: "uncertified" });
export const MISSING_UPSTREAM: UpstreamChoice = Object.freeze({ kind: "missing" });

export interface UpstreamSlotHost {
  readonly upstreams: Upstreams;
  /** Slots to be compiled again when that ssl record changes. */
  readonly byCertificate: Map<string, Set<UpstreamSlot>>;
  /** What passed the schema and still cannot be compiled, and undefined when it could. */
  report(recordKey: string, problem: string | undefined): void;
}

/** Compiles the slots in use that present a certificate again. */
export function certificateChanged(id: string, host: UpstreamSlotHost): void {
  for (const slot of [...(host.byCertificate.get(id) ?? [])]) slot.reopen();
}

export class UpstreamSlot {
  readonly #record: StoredValue;
  readonly #ids: UpstreamIds;
  /** Store key of the record that carries it. */
  readonly #recordKey: string;
  readonly #host: UpstreamSlotHost;
  readonly #certificate: string | undefined;
  #unit: LiveUpstreamUnit | undefined;
  #choice: UpstreamChoice | undefined;

  constructor(record: StoredValue, ids: UpstreamIds, recordKey: string, host: UpstreamSlotHost) {
    this.#record = record;
    this.#ids = ids;
    this.#recordKey = recordKey;
    this.#host = host;
    const id = (record["tls"] as { readonly client_cert_id?: unknown } | undefined)?.client_cert_id;
    this.#certificate = id === undefined ? undefined : String(id);
  }

  get isCompiled(): boolean {
    return this.#choice !== undefined;
  }

  /** Never throws: an upstream that does not compile is none (503) and listed. */
  choose(): UpstreamChoice {
    if (this.#choice === undefined) this.#open();
    return this.#choice ?? NO_UPSTREAM;
  }

  /**
   * Compiles now, for a record that is about to replace another.
   * @returns why that cannot be, unless a missing certificate may be the cause: it may come, and then heals the slot
   */
  compile(): string | undefined {
    const error = this.#open();
    if (error === undefined || this.#certificate !== undefined) return undefined;
    this.#host.report(this.#recordKey, undefined);
    this.close();
    return error;
  }

  /** What it was compiled from has changed elsewhere. */
  reopen(): void {
    this.#open();
  }

  close(): void {
    this.#unit?.close();
    this.#unit = undefined;
    this.#choice = undefined;
    if (this.#certificate === undefined) return;
    const slots = this.#host.byCertificate.get(this.#certificate);
    slots?.delete(this);
    if (slots?.size === 0) this.#host.byCertificate.delete(this.#certificate);
  }

  #open(): string | undefined {
    this.#follow();
    const before = this.#unit;
    let error: string | undefined;
    try {
      // True: the record passed the schema, which says no less.
      this.#unit = this.#host.upstreams.compile(this.#record as UpstreamRecord, this.#ids);
      this.#choice = Object.freeze({ kind: "upstream", unit: this.#unit });
    } catch (thrown) {
      error = messageOf(thrown);
      this.#unit = undefined;
      const isUncertified = isCodedError(thrown, "CERTIFICATE_MISSING");
      this.#choice = isUncertified ? UNCERTIFIED_UPSTREAM : NO_UPSTREAM;
    }
    before?.close();
    this.#host.report(this.#recordKey, error);
    return error;
  }

  #follow(): void {
    if (this.#certificate === undefined) return;
    const slots = this.#host.byCertificate.get(this.#certificate) ?? new Set();
    this.#host.byCertificate.set(this.#certificate, slots.add(this));
  }
}
