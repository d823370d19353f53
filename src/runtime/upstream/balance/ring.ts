/**
 * The ring of consistent hashing: 160 points per unit of weight and node, placed as OpenResty's chash places them,
 * so that a fleet that moves here from APISIX keeps its keys on the same nodes.
 * Promise: removing a node moves only its own keys. Cost: built once, O(log n) per key.
 */
import { crc32 } from "node:zlib";
import { effectiveWeight, type Weighted, weightStep } from "./balancer.ts";

const POINTS_PER_WEIGHT = 160;
// Beyond this, weights are scaled down: sorting more points would block the loop for tens of milliseconds.
const MAX_POINTS = 65_536;
const OWNER_SPAN = 2 ** 20;

interface RingNode extends Weighted {
  readonly id: string;
}

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
    const points = placePoints(this.#nodes, pointCounts(this.#nodes));
    points.sort();
    this.#hashes = new Uint32Array(points.length);
    this.#owners = new Uint32Array(points.length);
    for (const [at, point] of points.entries()) {
      this.#hashes[at] = Math.floor(point / OWNER_SPAN);
      this.#owners[at] = point % OWNER_SPAN;
    }
  }
}

function pointCounts(nodes: readonly RingNode[]): readonly number[] {
  const step = weightStep(nodes);
  const units = nodes.map((node) => effectiveWeight(node) / step);
  const total = units.reduce((sum, unit) => sum + unit, 0) * POINTS_PER_WEIGHT;
  const scale = Math.min(1, MAX_POINTS / total);
  return units.map((unit) => Math.max(1, Math.round(unit * POINTS_PER_WEIGHT * scale)));
}

/** Points as hash * OWNER_SPAN + owner, which a double holds exactly and sorts by hash. */
function placePoints(nodes: readonly RingNode[], counts: readonly number[]): Float64Array {
  const points = new Float64Array(counts.reduce((sum, count) => sum + count, 0));
  const before = Buffer.alloc(4);
  let at = 0;
  for (const [owner, node] of nodes.entries()) {
    // Each point's hash is fed to the next: that chain is what makes the places those of OpenResty.
    const base = crc32(node.id.replaceAll(":", "\0"));
    let hash = 0;
    for (let left = counts[owner] as number; left > 0; left--) {
      before.writeUInt32LE(hash);
      hash = crc32(before, base);
      points[at++] = hash * OWNER_SPAN + owner;
    }
  }
  return points;
}
