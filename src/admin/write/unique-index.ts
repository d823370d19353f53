/**
 * Keeps identifying values of authentication plugins (jwt-auth `key`, basic-auth `username`…) unique over all
 * consumers and credentials, by index entries that are written in the transaction of the record.
 * Promise: of two racing writes of the same value one is refused; entries whose owner is gone do not count.
 * Source: docs/spec/admin-api.md section 5.9, docs/spec/etcd.md section 8.
 */
import { type Members, own, ownMembers } from "../../base/json/members.ts";
import { isReference } from "../../base/reference.ts";
import { keyOf, parseKey } from "../../model/keys.ts";
import { KINDS, type KindName } from "../../model/kinds.ts";
import type { LeaseId, Store } from "../../store/store.ts";
import type { PluginCatalog } from "../plugin-catalog.ts";
import { readStored } from "../read/stored-record.ts";
import type { FieldCodec } from "../sealing/keyring-codec.ts";
import { uniqueKey } from "../store-paths.ts";
import type { Plan } from "./write-plan.ts";

export interface UniqueIndex {
  /**
   * Adds to `plan` what makes `value` (undefined: the record goes) the owner of its identifying values instead of
   * `previous`. Values are plain text. @returns the error's text when one belongs to somebody else
   */
  plan(
    plan: Plan,
    owner: Owner,
    value: Members | undefined,
    previous: Members | undefined,
    lease?: LeaseId,
  ): Promise<string | undefined>;
}

interface Owner {
  readonly kind: KindName;
  /** `jack` or `jack/credentials/c1`; the two cannot be confused. */
  readonly id: string;
}

interface UniqueClaim {
  readonly plugin: string;
  readonly attribute: string;
  readonly value: string;
}

interface UniqueEntry {
  readonly key: string;
  readonly owners: readonly string[];
  readonly modRevision: bigint;
  readonly leased: boolean;
}

export function openUniqueIndex(store: Store, prefix: string, catalog: PluginCatalog, codec: FieldCodec): UniqueIndex {
  async function readEntry(key: string): Promise<UniqueEntry> {
    const { kv } = await store.get(key);
    return {
      key,
      owners: kv ? readOwners(kv.value) : [],
      modRevision: kv?.modRevision ?? 0n,
      leased: (kv?.lease ?? 0n) !== 0n,
    };
  }

  /** Whether the record that an entry names really exists and carries the value. */
  async function isLive(owner: string, claim: UniqueClaim): Promise<boolean> {
    const key = keyOf(prefix, owner.includes("/") ? "credential" : "consumer", owner);
    const record = await readStored(store, key);
    const parsed = parseKey(prefix, key);
    if (!record?.value || !parsed) return false;
    const plain = codec.open(KINDS[parsed.kind], parsed.id, record.value);
    return claimsOf(catalog, plain).some((one) => one.plugin === claim.plugin && one.value === claim.value);
  }

  async function planClaim(plan: Plan, owner: Owner, claim: UniqueClaim, lease?: LeaseId): Promise<string | undefined> {
    const [first, ...others] = codec.digests(claim.value).map((digest) => uniqueKey(prefix, claim.plugin, digest));
    for (const key of first === undefined ? [] : [first, ...others]) {
      const entry = await readEntry(key);
      const kept: string[] = [];
      for (const other of entry.owners) {
        if (other === owner.id || !(await isLive(other, claim))) continue;
        if (conflicts(owner, other)) return conflictText(claim, other);
        kept.push(other);
      }
      plan.expect(key, entry.modRevision);
      if (key !== first) continue; // entries under older digests are only looked at
      const owners = [...kept, owner.id];
      const same = owners.length === entry.owners.length && owners.every((one) => entry.owners.includes(one));
      if (same && !entry.leased && lease === undefined) continue;
      // An entry that several records share must not vanish with the lease of one.
      plan.put(key, JSON.stringify(owners), owners.length === 1 ? lease : undefined);
    }
    return undefined;
  }

  async function planRelease(plan: Plan, owner: Owner, claim: UniqueClaim): Promise<void> {
    for (const digest of codec.digests(claim.value)) {
      const entry = await readEntry(uniqueKey(prefix, claim.plugin, digest));
      if (!entry.owners.includes(owner.id)) continue;
      const left = entry.owners.filter((other) => other !== owner.id);
      plan.expect(entry.key, entry.modRevision);
      if (left.length === 0) plan.delete(entry.key);
      else plan.put(entry.key, JSON.stringify(left));
    }
  }

  return {
    async plan(plan, owner, value, previous, lease) {
      const wanted = value ? claimsOf(catalog, value) : [];
      for (const claim of wanted) {
        const error = await planClaim(plan, owner, claim, lease);
        if (error !== undefined) return error;
      }
      for (const claim of previous ? claimsOf(catalog, previous) : []) {
        if (!wanted.some((one) => one.plugin === claim.plugin && one.value === claim.value)) {
          await planRelease(plan, owner, claim);
        }
      }
      return undefined;
    },
  };
}

/** What a record claims. Secret references are nobody's value until they are resolved. */
export function claimsOf(catalog: PluginCatalog, value: Members): UniqueClaim[] {
  const claims: UniqueClaim[] = [];
  for (const [plugin, conf] of Object.entries(ownMembers(value, "plugins"))) {
    const attribute = catalog.get(plugin)?.keyAttribute;
    if (attribute === undefined || typeof conf !== "object" || conf === null) continue;
    const identifying = own(conf as Members, attribute);
    if (typeof identifying === "string" && !isReference(identifying))
      claims.push({ plugin, attribute, value: identifying });
  }
  return claims;
}

/** A consumer does not conflict with its own credentials; a credential does with everything but itself. */
function conflicts(owner: Owner, other: string): boolean {
  return owner.kind === "credential" || consumerOf(other) !== owner.id;
}

function consumerOf(owner: string): string {
  const slash = owner.indexOf("/");
  return slash < 0 ? owner : owner.slice(0, slash);
}

function conflictText(claim: UniqueClaim, owner: string): string {
  const consumer = consumerOf(owner);
  const credential = owner.slice(consumer.length + "/credentials/".length);
  const who = credential === "" ? `consumer: ${consumer}` : `credential: ${credential} of consumer: ${consumer}`;
  return `duplicate ${claim.attribute} of plugin ${claim.plugin} found with ${who}`;
}

function readOwners(bytes: Buffer): readonly string[] {
  try {
    const owners: unknown = JSON.parse(bytes.toString("utf8"));
    return Array.isArray(owners) ? owners.filter((owner) => typeof owner === "string") : [];
  } catch {
    return []; // not ours; taken over
  }
}
