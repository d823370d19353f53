/**
 * Uses as the store holds them: what nodes hand in, and the shards that admins merge it into.
 * Names are those of records, `consumers/jack/credentials/web`, `token_issuers/idp`, and `token_issuers/idp/kids/k1`.
 * A use of a record that was deleted and made again is told by its create revision.
 */
import { createHash } from "node:crypto";

/** How exactly the time of a use is known. */
export const HOUR_SECONDS = 3_600;
/** Most uses in one record of the store, in number and in bytes. */
const USES_MAX = 50_000;
const USES_BYTES = 1_000_000;
export const SHARDS = 256;
/** Most nodes that are named for the last use of one name. */
const NODES_MAX = 8;

export interface Use {
  readonly name: string;
  /** Create revision of the record; 0 where it is no record of a caller. */
  readonly created: number;
  /** Hours since 1970. */
  readonly hour: number;
}

/** The last use of one name. */
export interface LastUse {
  readonly created: number;
  readonly hour: number;
  /** Nodes that it was used on in that hour. */
  readonly nodes: readonly string[];
}

export type Shard = Map<string, LastUse>;

/** `P-jotgate/usage/in/`: what nodes hand in, `{node}/{slot}`; all else of `usage/` is for admins alone. */
export function handedInDir(prefix: string): string {
  return `${prefix}-jotgate/usage/in/`;
}

export function shardDir(prefix: string): string {
  return `${prefix}-jotgate/usage/of/`;
}

/** {hour}: since when uses are kept. */
export function usageSinceKey(prefix: string): string {
  return `${prefix}-jotgate/usage/since`;
}

export function shardKey(prefix: string, shard: number): string {
  return shardDir(prefix) + shard.toString(16).padStart(2, "0");
}

export function shardOf(name: string): number {
  return createHash("sha256").update(name).digest()[0] ?? 0;
}

interface HandedIn {
  readonly value: Buffer;
  readonly uses: readonly Use[];
}

/** As many records as are needed, each made when it is asked for. */
export function* encodeHandedIn(node: string, uses: Iterable<Use>): Generator<HandedIn, void> {
  let [lines, taken, bytes]: [string[], Use[], number] = [[], [], 0];
  const close = (): HandedIn => {
    const value = Buffer.from(`{"v":1,"node":${JSON.stringify(node)},"uses":[${lines.join(",")}]}`, "utf8");
    const made = { value, uses: taken };
    [lines, taken, bytes] = [[], [], 0];
    return made;
  };
  for (const use of uses) {
    const line = JSON.stringify([use.name, use.created, use.hour]);
    if (lines.length === USES_MAX || bytes + line.length > USES_BYTES) yield close();
    lines.push(line);
    taken.push(use);
    bytes += Buffer.byteLength(line) + 1;
  }
  if (lines.length > 0) yield close();
}

/** Undefined for what no node wrote; of a list that is longer than it may be the rest is left out. */
export function decodeHandedIn(value: Buffer): { readonly node: string; readonly uses: readonly Use[] } | undefined {
  const read = parse(value);
  if (read === undefined || typeof read["node"] !== "string" || !Array.isArray(read["uses"])) return undefined;
  const uses = read["uses"].slice(0, USES_MAX).flatMap((one: unknown): Use[] => {
    const [name, created, hour] = Array.isArray(one) ? one : [];
    return isName(name) && isCount(created) && isCount(hour) ? [{ name, created, hour }] : [];
  });
  return { node: read["node"].slice(0, 128), uses };
}

/** Takes a use in: the later hour counts, and another record under the name ends the former's uses. */
export function addUse(shard: Shard, { name, created, hour }: Use, node: string): boolean {
  const known = shard.get(name);
  if (known && known.created > created) return false;
  if (known && known.created === created) {
    if (known.hour > hour) return false;
    if (known.hour === hour && (known.nodes.includes(node) || known.nodes.length >= NODES_MAX)) return false;
    if (known.hour === hour) {
      shard.set(name, { ...known, nodes: [...known.nodes, node] });
      return true;
    }
  }
  shard.set(name, { created, hour, nodes: [node] });
  return true;
}

/** Beyond what one record holds, what was used longest ago is forgotten. */
export function encodeShard(shard: Shard): Buffer {
  for (;;) {
    const nodes = new Map<string, number>();
    const indexOf = (node: string): number => {
      const at = nodes.get(node) ?? nodes.size;
      nodes.set(node, at);
      return at;
    };
    const lines = [...shard].map(([name, use]) =>
      JSON.stringify([name, use.created, use.hour, ...use.nodes.map(indexOf)]),
    );
    const value = Buffer.from(`{"v":1,"nodes":${JSON.stringify([...nodes.keys()])},"uses":[${lines.join(",")}]}`);
    if (value.length <= USES_BYTES) return value;
    const oldest = [...shard].sort(([, a], [, b]) => a.hour - b.hour).slice(0, Math.ceil(shard.size / 10));
    for (const [name] of oldest) shard.delete(name);
  }
}

/** Empty for what no admin wrote. */
export function decodeShard(value: Buffer | undefined): Shard {
  const read = value && parse(value);
  const shard: Shard = new Map();
  if (!read || !Array.isArray(read["uses"])) return shard;
  const nodes: readonly unknown[] = Array.isArray(read["nodes"]) ? read["nodes"] : [];
  for (const one of read["uses"] as readonly unknown[]) {
    const [name, created, hour, ...on] = Array.isArray(one) ? (one as readonly unknown[]) : [];
    if (!isName(name) || !isCount(created) || !isCount(hour)) continue;
    const named = on.map((at) => nodes[Number(at)]).filter((node) => typeof node === "string");
    shard.set(name, { created, hour, nodes: named });
  }
  return shard;
}

function parse(value: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const read: unknown = JSON.parse(value.toString("utf8"));
    return typeof read === "object" && read !== null ? (read as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

const isName = (value: unknown): value is string => typeof value === "string" && value.length <= 1_024;
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
