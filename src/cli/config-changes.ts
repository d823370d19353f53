/**
 * What files of configuration would change in a store: compared with all of its records as of one revision, in the order in
 * which they refer to each other.
 * Promise: of the store only a few numbers per record are kept; what cannot be compared here, because reads do not show it, the
 * Admin API is asked about by a dry run.
 */
import { createHash } from "node:crypto";
import { needed } from "../admin/preview/judge-files.ts";
import { holdsMask } from "../admin/write/put-back.ts";
import type { Members } from "../base/json/members.ts";
import { keyOf } from "../model/keys.ts";
import { KINDS, type Kind, type KindName } from "../model/kinds.ts";
import type { FileRecord } from "../store/file/file-records.ts";
import { type AdminClient, type Answered, LostAdmin } from "./admin-client.ts";

export interface ConfigChange {
  readonly kind: Kind;
  readonly id: string;
  readonly change: "create" | "update" | "delete";
  /** Undefined when it goes. */
  readonly value: Members | undefined;
  /** Of the store's record; undefined: there is none. */
  readonly revision: number | undefined;
  /** 0: refers to nothing that changes too. */
  readonly level: number;
}

export interface ConfigChanges {
  readonly changes: readonly ConfigChange[];
  readonly same: number;
  /** Of the store, when it was read. */
  readonly revision: number;
}

export interface Label {
  readonly name: string;
  readonly value: string;
}

interface RemoteRecord {
  readonly kind: KindName;
  readonly id: string;
  readonly revision: number;
  readonly leased?: boolean;
  readonly value: Members;
}

interface Known {
  readonly revision: number;
  readonly digest: string;
  /** Reads leave something out. */
  readonly isPartial: boolean;
}

/** `/routes/1`, also the path of the Admin API. */
export function pathOf({ kind, id }: { readonly kind: Kind; readonly id: string }): string {
  return keyOf("", kind.name, id);
}

export function adminPath(change: { readonly kind: Kind; readonly id: string }): string {
  return pathOf(change).split("/").map(encodeURIComponent).join("/");
}

/** All records. @throws LostAdmin when the answer is not whole */
export async function* exportedBy(
  admin: AdminClient,
  method: "GET" | "POST",
  query: string,
  body?: unknown,
): AsyncGenerator<RemoteRecord, number> {
  for await (const line of admin.lines(method, `/configs/export${query}`, body)) {
    const record = JSON.parse(line) as RemoteRecord & { readonly end?: boolean };
    if (record.end) return record.revision;
    yield record;
  }
  throw new LostAdmin(`${admin.url} broke its answer off: try again`);
}

/** @param label every record gets it, where its kind has labels @param prune records with the label that no file has go */
export async function findChanges(
  admin: AdminClient,
  records: readonly FileRecord[],
  label: Label | undefined,
  prune: boolean,
): Promise<ConfigChanges> {
  const wanted = new Map(records.map((record) => [pathOf(record), labelled(record, label)]));
  const known = new Map<string, Known>();
  const gone: { readonly kind: Kind; readonly id: string; readonly value: Members; readonly revision: number }[] = [];
  const all = exportedBy(admin, "GET", "");
  let revision = 0;
  for (;;) {
    const next = await all.next();
    if (next.done) {
      revision = next.value;
      break;
    }
    const { id, value, revision: at } = next.value;
    const kind = KINDS[next.value.kind];
    const path = pathOf({ kind, id });
    if (wanted.has(path)) known.set(path, { revision: at, digest: digestOf(value), isPartial: isPartial(kind, value) });
    else if (prune && label && carries(value, label)) gone.push({ kind, id, value, revision: at });
  }
  const levels = levelsOf([...wanted.values()]);
  const found = await inParallel([...wanted], ASKED_AT_ONCE, async ([path, record]) => {
    const there = known.get(path);
    const { kind, id, value } = record;
    const change = { kind, id, value, revision: there?.revision, level: levels.get(path) ?? 0 };
    if (!there) return { ...change, change: "create" } as const;
    if (there.digest === digestOf(value)) return undefined;
    if ((there.isPartial || holdsMask(value)) && (await isUnchanged(admin, record))) return undefined;
    return { ...change, change: "update" } as const;
  });
  const writes = found.filter((one) => one !== undefined);
  const goneLevels = levelsOf(gone);
  const deletes = gone.map(
    ({ kind, id, revision: at }): ConfigChange => ({
      ...{ kind, id, revision: at, value: undefined, change: "delete" },
      level: goneLevels.get(pathOf({ kind, id })) ?? 0,
    }),
  );
  return { changes: [...writes, ...deletes], same: wanted.size - writes.length, revision };
}

const ASKED_AT_ONCE = 8;

/** Runs so many at a time, in order. */
export async function inParallel<Item, Result>(
  items: readonly Item[],
  atOnce: number,
  run: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++;
      results[at] = await run(items[at] as Item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, work));
  return results;
}

export function dryRun(admin: AdminClient, change: Pick<ConfigChange, "kind" | "id" | "value">): Promise<Answered> {
  const method = change.value ? "PUT" : "DELETE";
  return admin.ask(method, `${adminPath(change)}?dry_run=1`, change.value);
}

async function isUnchanged(admin: AdminClient, record: Pick<ConfigChange, "kind" | "id" | "value">): Promise<boolean> {
  const { status, body } = await dryRun(admin, record);
  const changes: unknown = body?.changes;
  return status === 200 && Array.isArray(changes) && changes.every((one) => one?.change === "unchanged");
}

/** Whether its kind has labels. */
export function takesLabels({ schema }: Kind): boolean {
  return "properties" in schema && Object.hasOwn(schema["properties"] as object, "labels");
}

function labelled(
  { kind, id, value }: FileRecord,
  label: Label | undefined,
): Pick<FileRecord, "kind" | "id" | "value"> {
  if (!label || !takesLabels(kind)) return { kind, id, value };
  const labels = { ...(value["labels"] as Members | undefined), [label.name]: label.value };
  return { kind, id, value: { ...value, labels } };
}

function carries(value: Members, { name, value: wanted }: Label): boolean {
  const labels = value["labels"] as Members | undefined;
  return typeof labels === "object" && labels !== null && Object.hasOwn(labels, name) && labels[name] === wanted;
}

/** Private keys and hashes are shown to nobody; what is sealed for admins is shown as it lies in the store. */
function isPartial(kind: Kind, value: Members): boolean {
  return (
    kind.name === "ssl" ||
    kind.pluginSide === "consumer" ||
    kind.references ||
    JSON.stringify(value).includes('"jotgate:1:')
  );
}

/** Of a value as it was meant: without what the server sets, whatever the order of members. */
function digestOf(value: Members): string {
  const { create_time: _created, update_time: _updated, id, ...rest } = value;
  const meant = id === undefined ? rest : { ...rest, id: String(id) };
  return createHash("sha256")
    .update(JSON.stringify(sorted(meant)))
    .digest("base64url");
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  );
}

/** How long the longest chain of references below each record is, among these. */
function levelsOf(records: readonly Pick<FileRecord, "kind" | "id" | "value">[]): ReadonlyMap<string, number> {
  const byPath = new Map(records.map((record) => [pathOf(record), record]));
  const levels = new Map<string, number>();
  const levelOf = (path: string): number => {
    const known = levels.get(path);
    if (known !== undefined) return known;
    const record = byPath.get(path);
    if (!record) return -1;
    levels.set(path, 0); // one that refers to itself refers to nothing else
    const below = needed(record).map((one) => levelOf(keyOf("", one.kind, one.id)));
    const level = 1 + Math.max(-1, ...below);
    levels.set(path, level);
    return level;
  };
  for (const path of byPath.keys()) levelOf(path);
  return levels;
}
