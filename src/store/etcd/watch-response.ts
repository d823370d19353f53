/**
 * Reads what a watch sends. etcd3 makes objects of a whole message in one turn, and one revision may have tens of thousands
 * of events: here a message first says where its events are, and each is read when its turn has come.
 * Promise: bytes that are no such message throw, wherever they end.
 * Source: https://protobuf.dev/programming-guides/encoding/, WatchResponse and Event of etcd's rpc.proto and kv.proto
 */
import type { Change, KeyValue, Revision } from "../store.ts";

export interface WatchResponse {
  /** Of its header. */
  readonly revision: Revision;
  readonly created: boolean;
  readonly canceled: boolean;
  /** 0 where nothing was compacted. */
  readonly compactRevision: Revision;
  readonly cancelReason: string;
  /** The last revision in it goes on in the next one. */
  readonly fragment: boolean;
  /** How many events it has. */
  readonly count: number;
  /** @param index below `count` */
  event(index: number): WatchEvent;
}

interface WatchEvent {
  readonly revision: Revision;
  readonly change: Change;
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
/** A varint of so many bytes is exact as a number. */
const EXACT_BYTES = 7;
const EMPTY = Buffer.alloc(0);

export function readWatchResponse(bytes: Buffer): WatchResponse {
  const wire = new Wire(bytes, 0, bytes.length);
  const found = {
    revision: 0n,
    created: false,
    canceled: false,
    compactRevision: 0n,
    cancelReason: "",
    fragment: false,
  };
  /** Begin and end of each event. */
  const places: number[] = [];
  for (let field = wire.field(); field !== 0; field = wire.field()) {
    if (field === 11) places.push(...wire.place());
    else if (field === 1) found.revision = revisionOf(wire.inner());
    else if (field === 3) found.created = wire.integer() !== 0n;
    else if (field === 4) found.canceled = wire.integer() !== 0n;
    else if (field === 5) found.compactRevision = wire.integer();
    else if (field === 6) found.cancelReason = wire.bytes().toString("utf8");
    else if (field === 7) found.fragment = wire.integer() !== 0n;
    else wire.skip();
  }
  const event = (index: number): WatchEvent =>
    readEvent(new Wire(bytes, places[2 * index] ?? 0, places[2 * index + 1] ?? 0));
  return { ...found, count: places.length / 2, event };
}

function revisionOf(header: Wire): Revision {
  let revision = 0n;
  for (let field = header.field(); field !== 0; field = header.field()) {
    if (field === 3) revision = header.integer();
    else header.skip();
  }
  return revision;
}

function readEvent(wire: Wire): WatchEvent {
  let isDelete = false;
  let kv: KeyValue | undefined;
  for (let field = wire.field(); field !== 0; field = wire.field()) {
    if (field === 1) isDelete = wire.integer() !== 0n;
    else if (field === 2) kv = readKeyValue(wire.inner());
    else wire.skip();
  }
  if (!kv) throw new RangeError("an event of a watch has no key");
  return {
    revision: kv.modRevision,
    change: isDelete ? { type: "delete", key: kv.key, kv: undefined } : { type: "put", key: kv.key, kv },
  };
}

function readKeyValue(wire: Wire): KeyValue {
  const found = { key: "", value: EMPTY as Buffer, createRevision: 0n, modRevision: 0n, version: 0n, lease: 0n };
  for (let field = wire.field(); field !== 0; field = wire.field()) {
    if (field === 1) found.key = wire.bytes().toString("utf8");
    else if (field === 2) found.createRevision = wire.integer();
    else if (field === 3) found.modRevision = wire.integer();
    else if (field === 4) found.version = wire.integer();
    else if (field === 5) found.value = wire.bytes();
    else if (field === 6) found.lease = wire.integer();
    else wire.skip();
  }
  return found;
}

/** One message of protobuf's wire format, field by field. */
class Wire {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;
  #type = 0;

  constructor(bytes: Buffer, at: number, end: number) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  /** The number of the next field, 0 at the end; its value is to be read or skipped then. */
  field(): number {
    if (this.#at >= this.#end) return 0;
    const tag = this.#number();
    this.#type = tag % 8;
    const field = Math.floor(tag / 8);
    if (field === 0) throw new RangeError("a field of a message has no number");
    return field;
  }

  /** 64 bits; what is sent of negative ones is large. */
  integer(): bigint {
    this.#demand(VARINT);
    const start = this.#at;
    const low = this.#number();
    if (this.#at - start <= EXACT_BYTES) return BigInt(low);
    let value = 0n;
    for (let at = this.#at - 1; at >= start; at--) value = value * 128n + BigInt(this.#byte(at) % 128);
    return BigInt.asUintN(64, value);
  }

  /** Shares the memory of the message. */
  bytes(): Buffer {
    const [start, end] = this.place();
    return this.#bytes.subarray(start, end);
  }

  inner(): Wire {
    const [start, end] = this.place();
    return new Wire(this.#bytes, start, end);
  }

  place(): readonly [start: number, end: number] {
    this.#demand(BYTES);
    const length = this.#number();
    const start = this.#at;
    this.#pass(length);
    return [start, this.#at];
  }

  skip(): void {
    if (this.#type === VARINT) this.#number();
    else if (this.#type === BYTES) this.place();
    else if (this.#type === FIXED64) this.#pass(8);
    else if (this.#type === FIXED32) this.#pass(4);
    else throw new RangeError(`a field of a message has the unknown form ${this.#type}`);
  }

  #demand(type: number): void {
    if (this.#type !== type) throw new RangeError(`a field of a message has the form ${this.#type}, not ${type}`);
  }

  #pass(length: number): void {
    this.#at += length;
    if (this.#at > this.#end) throw new RangeError("a message ends inside of a field");
  }

  /** A varint; exact up to 7 bytes. */
  #number(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count++) {
      const byte = this.#byte(this.#at++);
      value += (byte % 128) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
    throw new RangeError("a number of a message does not end");
  }

  #byte(at: number): number {
    const byte = at < this.#end ? this.#bytes[at] : undefined;
    if (byte === undefined) throw new RangeError("a message ends inside of a number");
    return byte;
  }
}
