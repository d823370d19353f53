/**
 * The records that can be used, by the names under which uses are kept.
 */
import { credentialsOf, dirOf, keyOf, parseKey } from "../../model/keys.ts";
import type { KindName } from "../../model/kinds.ts";
import { type KeyRange, prefixRange, type Revision } from "../../store/store.ts";
import type { StoreSide } from "../admin-context.ts";

const KINDS: readonly KindName[] = ["consumer", "token_issuer", "authorization_server"];

export interface UsableRecord {
  readonly kind: KindName;
  /** As `RecordKey.id`. */
  readonly id: string;
  readonly consumer?: string;
  readonly credential?: string;
  readonly created: number;
  /** Seconds since 1970, as the record says; undefined where nobody asked, or it does not. */
  readonly createdAt: number | undefined;
}

export interface UsableRecords {
  readonly all: ReadonlyMap<string, UsableRecord>;
  /** Whether the name's uses are those of a record that is there. @param created create revision, 0: any */
  has(name: string, created: number): boolean;
  /** Whether a record of that create revision would be among them, if it is there. */
  isComplete(created: number): boolean;
}

/** `token_issuers/idp/kids/k1` → `token_issuers/idp` */
export function recordNameOf(name: string): string {
  const at = name.indexOf("/kids/");
  return at < 0 || name.startsWith("consumers/") ? name : name.slice(0, at);
}

interface Wanted {
  /** Read the values too, for `createdAt`. */
  readonly withTimes?: boolean;
  /** Only this one and its credentials. */
  readonly consumer?: string | undefined;
}

/** @throws CodedError STORE_* */
export async function listUsable(
  admin: StoreSide,
  { withTimes = false, consumer }: Wanted = {},
): Promise<UsableRecords> {
  const { store, prefix } = admin;
  const all = new Map<string, UsableRecord>();
  let least: Revision | undefined;
  for (const range of consumer === undefined ? rangesOfAll(prefix) : rangesOf(prefix, consumer)) {
    for await (const page of store.list(range, { keysOnly: !withTimes })) {
      if (least === undefined || page.revision < least) least = page.revision;
      for (const { key, createRevision, value } of page.kvs) {
        const parsed = parseKey(prefix, key);
        if (!parsed) continue;
        all.set(key.slice(prefix.length + 1), {
          ...parsed,
          created: Number(createRevision),
          createdAt: withTimes ? createTimeIn(value) : undefined,
        });
      }
    }
  }
  const head = Number(least ?? 0n);
  return {
    all,
    has(name, created) {
      const found = all.get(recordNameOf(name));
      return found !== undefined && (created === 0 || found.created === created);
    },
    isComplete: (created) => created <= head,
  };
}

function rangesOfAll(prefix: string): readonly KeyRange[] {
  return KINDS.map((kind) => prefixRange(dirOf(prefix, kind)));
}

function rangesOf(prefix: string, consumer: string): readonly KeyRange[] {
  const key = keyOf(prefix, "consumer", consumer);
  return [{ start: key, end: `${key}\0` }, prefixRange(credentialsOf(prefix, consumer))];
}

/** Without making objects of everything that a hundred thousand records hold. */
function createTimeIn(value: Buffer): number | undefined {
  const found = /"create_time"\s*:\s*(\d{1,12})[,}\s]/.exec(value.toString("utf8"))?.[1];
  return found === undefined ? undefined : Number(found);
}
