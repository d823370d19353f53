/**
 * The newest revision at which a record of each kind was written or deleted, as dashboards made for APISIX ask for it.
 * Cost: one look at each changed key; nothing at scrape time. A deletion from before the start is not known.
 */
import { parseKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import type { Table } from "../sync/table.ts";

/** By what APISIX calls it; a kind without a record is 0. */
export type ModifyIndexes = Readonly<Record<string, number>>;

/** Directories that APISIX shows; credentials are in that of consumers. */
const SHOWN = [
  "routes",
  "services",
  "ssls",
  "consumers",
  "global_rules",
  "upstreams",
  "stream_routes",
  "protos",
] as const;

/** Call it before the table is filled. */
export function trackModifyIndexes(table: Table, prefix: string): () => ModifyIndexes {
  const newest: Record<string, number> = Object.fromEntries(SHOWN.map((dir) => [dir, 0]));
  let previousGlobal = 0; // what `global_rules` was before its last change
  table.subscribe(({ revision, changes }) => {
    for (const { key, kv } of changes) {
      const parsed = parseKey(prefix, key);
      if (!parsed) continue;
      const dir = parsed.kind === "credential" ? KINDS.consumer.dir : KINDS[parsed.kind].dir;
      const known = newest[dir];
      const at = Number(kv?.modRevision ?? revision);
      if (known === undefined || at <= known) continue;
      if (dir === "global_rules") previousGlobal = known;
      newest[dir] = at;
    }
  });
  return () => ({ ...newest, prev_index: previousGlobal, max_modify_index: Math.max(...Object.values(newest)) });
}
