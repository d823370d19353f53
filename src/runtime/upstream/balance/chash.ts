/**
 * Consistent hashing: the same key goes to the same node; a retry walks on to the next different node.
 * Promise: the ring is that of all configured nodes; an unhealthy node is stepped over, so only its keys move.
 */

import { crc32, crc32Chain } from "../../../base/crc32.ts";
import { CodedError } from "../../../base/errors.ts";
import type { RequestView } from "../../../plugin/request-view.ts";
import { compileTemplate, isTemplate } from "../../../plugin/variables/template.ts";
import { compileVariable, type Variable } from "../../../plugin/variables/variables.ts";
import type { UpstreamRecord } from "../upstream-record.ts";
import {
  type BalancedNode,
  type Balancer,
  type Choice,
  effectiveWeight,
  type Weighted,
  weightStep,
} from "./balancer.ts";

type HashKey = (view: RequestView) => string;

export class ConsistentHash<N extends BalancedNode> implements Balancer<N> {
  readonly #ring: Ring;
  readonly #nodes: readonly (N | undefined)[];
  readonly #key: HashKey;

  /** @param nodes the ring's nodes in its order, undefined where one must not be used now */
  constructor(ring: Ring, nodes: readonly (N | undefined)[], key: HashKey) {
    this.#ring = ring;
    this.#nodes = nodes;
    this.#key = key;
  }

  pick(choice: Choice<N>): N | undefined {
    const ring = this.#ring;
    const start = choice.ringAt < 0 ? ring.find(this.#key(choice.view)) : choice.ringAt + 1;
    const size = ring.size; // known only after a find
    let at = start % size;
    for (let left = size; left > 0; left--) {
      const node = this.#nodes[ring.owner(at)];
      if (node && !choice.isTried(node)) {
        choice.ringAt = at;
        return node;
      }
      at = at + 1 === size ? 0 : at + 1;
    }
    return undefined;
  }
}

/**
 * Compiles `hash_on` and `key`; a request without the value hashes on the client's address.
 * @throws CodedError CONFIG_INVALID for an unknown hash_on or a missing key
 */
export function compileHashKey(record: Pick<UpstreamRecord, "hash_on" | "key">): HashKey {
  const read = compileReader(record.hash_on ?? "vars", record.key);
  return (view) => {
    const value = read(view);
    return value === undefined ? view.clientAddress : String(value);
  };
}

function compileReader(hashOn: string, key: string | undefined): Variable {
  if (hashOn === "consumer") return (view) => view.consumer?.username;
  if (key === undefined || key === "") throw invalid(`missing key for hash_on "${hashOn}"`);
  switch (hashOn) {
    case "vars":
      return compileVariable(key);
    case "header":
      return compileVariable(`http_${key}`);
    case "cookie":
      return compileVariable(`cookie_${key}`);
    case "vars_combinations":
      return compileCombination(key);
    default:
      throw invalid(`unknown hash_on "${hashOn}"`);
  }
}

/** A combination of which no variable has a value is no key. */
function compileCombination(key: string): Variable {
  if (!isTemplate(key)) return () => undefined;
  const template = compileTemplate(key);
  const variables = template.names.map((name) => compileVariable(name));
  const hasDefault = key.includes("??");
  return (view) => (hasDefault || variables.some((read) => read(view) !== undefined) ? template(view) : undefined);
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}

/**
 * The ring of consistent hashing: 160 points per unit of weight and node, placed as OpenResty's chash places them,
 * so that a fleet that moves here from APISIX keeps its keys on the same nodes.
 * Promise: removing a node moves only its own keys. Cost: built once, O(log n) per key.
 */

const POINTS_PER_WEIGHT = 160;
// Beyond this, weights are scaled down: sorting more points would block the loop for tens of milliseconds.
const MAX_POINTS = 65_536;

interface RingNode extends Weighted {
  readonly id: string;
}

/** Hash and owner of each point. */
type Points = [hashes: Uint32Array<ArrayBuffer>, owners: Uint32Array<ArrayBuffer>];

export class Ring {
  readonly #nodes: readonly RingNode[];
  #hashes = new Uint32Array(0);
  #owners = new Uint32Array(0);

  /** @param nodes at least one; owners are indexes into it */
  constructor(nodes: readonly RingNode[]) {
    // Copied: the ring outlives the units that share it, and must not keep theirs.
    this.#nodes = nodes.map(({ id, weight }) => ({ id, weight }));
  }

  get size(): number {
    return this.#hashes.length;
  }

  /** The place of the first point at or after the key's hash. The first call places the points. */
  find(key: string): number {
    if (this.#hashes.length === 0) this.#build();
    const hash = crc32(key);
    const hashes = this.#hashes;
    let low = 0;
    let high = hashes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((hashes[middle] as number) < hash) low = middle + 1;
      else high = middle;
    }
    return low === hashes.length ? 0 : low;
  }

  owner(at: number): number {
    return this.#owners[at] as number;
  }

  #build(): void {
    const placed = placePoints(this.#nodes, pointCounts(this.#nodes));
    [this.#hashes, this.#owners] = sortedBy(16, sortedBy(0, placed));
  }
}

/** The points in the order of 16 bits of their hashes; equal ones keep theirs. Twice, low bits first, sorts by the hash. */
function sortedBy(shift: number, [hashes, owners]: Points): Points {
  const starts = new Uint32Array(0x1_00_01);
  for (let at = 0; at < hashes.length; at++) (starts[(((hashes[at] as number) >>> shift) & 0xffff) + 1] as number)++;
  for (let digit = 1; digit < starts.length; digit++) (starts[digit] as number) += starts[digit - 1] as number;
  const [toHashes, toOwners] = [new Uint32Array(hashes.length), new Uint32Array(hashes.length)];
  for (let at = 0; at < hashes.length; at++) {
    const hash = hashes[at] as number;
    const to = (starts[(hash >>> shift) & 0xffff] as number)++;
    toHashes[to] = hash;
    toOwners[to] = owners[at] as number;
  }
  return [toHashes, toOwners];
}

function pointCounts(nodes: readonly RingNode[]): readonly number[] {
  const step = weightStep(nodes);
  const units = nodes.map((node) => effectiveWeight(node) / step);
  const total = units.reduce((sum, unit) => sum + unit, 0) * POINTS_PER_WEIGHT;
  const scale = Math.min(1, MAX_POINTS / total);
  return units.map((unit) => Math.max(1, Math.round(unit * POINTS_PER_WEIGHT * scale)));
}

function placePoints(nodes: readonly RingNode[], counts: readonly number[]): Points {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const [hashes, owners] = [new Uint32Array(total), new Uint32Array(total)];
  let at = 0;
  for (const [owner, node] of nodes.entries()) {
    // Each point's hash is fed to the next: that chain is what makes the places those of OpenResty.
    const end = at + (counts[owner] as number);
    crc32Chain(crc32(node.id.replaceAll(":", "\0")), hashes.subarray(at, end));
    owners.fill(owner, at, end);
    at = end;
  }
  return [hashes, owners];
}
