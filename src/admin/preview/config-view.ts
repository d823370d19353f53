/**
 * The configuration as it would be after some changes, for questions that span records. Kinds are read when first asked
 * for, all of them at the same revision.
 */
import type { Members } from "../../base/json/members.ts";
import { dirOf, parseKey } from "../../model/keys.ts";
import { KINDS, type KindName } from "../../model/kinds.ts";
import { prefixRange } from "../../store/store.ts";
import type { ReadSide, RecordChange } from "../admin-context.ts";
import { toStored } from "../read/stored-record.ts";

export interface ViewedRecord {
  readonly id: string;
  readonly value: Members;
  /** Position by creation; a record that is about to be created comes last. */
  readonly order: number;
}

export interface ConfigView {
  /** All records of a kind by id, secrets opened. */
  all(kind: KindName): Promise<ReadonlyMap<string, ViewedRecord>>;
}

/** @param base the view without the changes, so that the store is read once for both */
export function openConfigView(admin: ReadSide, changes: readonly RecordChange[], base?: ConfigView): ConfigView {
  const kinds = new Map<KindName, Promise<ReadonlyMap<string, ViewedRecord>>>();
  let revision: bigint | undefined;

  async function read(kind: KindName): Promise<Map<string, ViewedRecord>> {
    const records = new Map<string, ViewedRecord>();
    const range = prefixRange(dirOf(admin.prefix, kind));
    for await (const page of admin.store.list(range, revision === undefined ? {} : { revision })) {
      revision ??= page.revision;
      for (const kv of page.kvs) {
        const key = parseKey(admin.prefix, kv.key);
        const { value } = toStored(kv);
        if (key?.kind !== kind || !value) continue;
        const opened = admin.codec.open(KINDS[kind], key.id, value);
        records.set(key.id, { id: key.id, value: opened, order: Number(kv.createRevision) });
      }
    }
    return records;
  }

  async function load(kind: KindName): Promise<ReadonlyMap<string, ViewedRecord>> {
    const mine = changes.filter((change) => change.kind.name === kind);
    const before = base ? await base.all(kind) : await read(kind);
    if (mine.length === 0) return before;
    const after = new Map(before);
    for (const { id, candidate } of mine) {
      if (!candidate) after.delete(id);
      else after.set(id, { id, value: candidate, order: before.get(id)?.order ?? Number.MAX_SAFE_INTEGER });
    }
    return after;
  }

  return {
    all(kind) {
      const known = kinds.get(kind) ?? load(kind);
      kinds.set(kind, known);
      return known;
    },
  };
}
