/**
 * References between records: that they exist when a record is written, that nobody holds them when one is deleted,
 * and that both stay true under concurrent writes (see `referenceGuardKey`).
 * Source: docs/spec/admin-api.md sections 5.5 and 5.6, docs/spec/etcd.md section 8.
 */
import { isCodedError, messageOf } from "../../base/errors.ts";
import { type Members, own } from "../../base/json/members.ts";
import { dirOf, keyOf, parseKey } from "../../model/keys.ts";
import { KINDS, type Kind, type KindName } from "../../model/kinds.ts";
import { pluginReferencesOf, protocolOf, type RecordReference, referencesOf } from "../../model/references.ts";
import { prefixRange, type Store } from "../../store/store.ts";
import { readStored, toStored } from "../read/stored-record.ts";
import { referenceGuardKey } from "../store-paths.ts";
import type { Plan } from "./write-plan.ts";

export interface ReferenceGuard {
  /** @returns the text of the first reference that does not hold; else `plan` makes sure that all still do. */
  planWrite(
    plan: Plan,
    kind: Kind,
    id: string,
    value: Members,
    previous: Members | undefined,
  ): Promise<string | undefined>;
  /** @returns who still uses the record, in words; else `plan` fails when somebody began to. */
  planDelete(plan: Plan, kind: Kind, id: string): Promise<string | undefined>;
}

export function openReferenceGuard(store: Store, prefix: string): ReferenceGuard {
  async function missing(reference: RecordReference, value: Members): Promise<string | undefined> {
    const { kind, id, word } = reference;
    const superior = kind === "stream_route";
    const start = superior
      ? `failed to fetch stream routes[${id}]`
      : `failed to fetch ${word} info by ${word} id [${id}]`;
    try {
      const record = await readStored(store, keyOf(prefix, kind, id));
      if (!record) return `${start}, response code: 404`;
      if (superior) return protocolError(value, record.value);
      return kind === "ssl" && own(record.value, "type") !== "client" ? `${start}, wrong ssl type` : undefined;
    } catch (error) {
      if (isCodedError(error)) return `${start}: ${messageOf(error)}`;
      throw error;
    }
  }

  async function findUser(user: User, kind: KindName, id: string): Promise<string | undefined> {
    for await (const page of store.list(prefixRange(dirOf(prefix, user.kind)))) {
      for (const kv of page.kvs) {
        const key = parseKey(prefix, kv.key);
        // Most records cannot point to anything: their bytes do not even name the member.
        if (key?.kind !== user.kind || !mentions(kv.value, kind)) continue;
        const { value } = toStored(kv);
        if (!value) continue;
        const points = (one: RecordReference): boolean => one.kind === kind && one.id === id;
        if (pluginReferencesOf(value).some(points)) return pluginUserText(kind, user.pluginWord, key.id);
        if (user.direct && referencesOf(user.kind, value).some(points)) return userText(kind, user.word, key.id);
      }
    }
    return undefined;
  }

  return {
    async planWrite(plan, kind, id, value, previous) {
      const references = referencesOf(kind.name, value);
      for (const reference of references) {
        if (reference.kind === kind.name && reference.id === id)
          return `${kind.message} can not set itself as superior_id`;
        const error = await missing(reference, value);
        if (error !== undefined) return error;
        plan.require(keyOf(prefix, reference.kind, reference.id));
      }
      const before = previous ? pointedBy(kind, previous, prefix) : new Set<string>();
      for (const key of pointedBy(kind, value, prefix)) if (!before.has(key)) plan.put(key, `${kind.name}/${id}`);
      return undefined;
    },

    async planDelete(plan, kind, id) {
      const users = USERS[kind.name];
      if (!users) return undefined;
      const guard = referenceGuardKey(prefix, kind.name, id);
      const { kv } = await store.get(guard); // before the listing: whoever begins to point after this is noticed
      for (const user of users) {
        const error = await findUser(user, kind.name, id);
        if (error !== undefined) return error;
      }
      plan.expect(guard, kv?.modRevision ?? 0n);
      if (kv) plan.delete(guard);
      return undefined;
    },
  };
}

function protocolError(value: Members, superior: Members | undefined): string | undefined {
  const theirs = superior && protocolOf(superior);
  const own = protocolOf(value);
  if (theirs === undefined || theirs === own) return undefined;
  return `protocol mismatch: subordinate protocol [${own}] does not match superior protocol [${theirs}]`;
}

function pointedBy(kind: Kind, value: Members, prefix: string): Set<string> {
  const all = [...referencesOf(kind.name, value), ...pluginReferencesOf(value)];
  return new Set(all.filter((one) => USERS[one.kind]).map((one) => referenceGuardKey(prefix, one.kind, one.id)));
}

interface User {
  readonly kind: KindName;
  /** Whether members of the record itself point, not only its plugins. */
  readonly direct: boolean;
  readonly word: string;
  readonly pluginWord: string;
}

const user = (kind: KindName, direct: boolean, pluginWord: string = kind): User => ({
  kind,
  direct,
  word: kind,
  pluginWord,
});

/** Who may point to records of a kind, in the order in which they are asked. */
const USERS: Readonly<Partial<Record<KindName, readonly User[]>>> = {
  upstream: [
    user("route", true),
    user("service", true),
    user("plugin_config", false),
    user("consumer", false),
    user("consumer_group", false),
    user("global_rule", false, "global_rules"),
  ],
  service: [user("route", true), user("stream_route", true)],
  plugin_config: [user("route", true)],
  consumer_group: [user("consumer", true)],
  proto: [user("route", false), user("service", false)],
  stream_route: [user("stream_route", true)],
};

const MEMBER_NAMES: Readonly<Partial<Record<KindName, string>>> = {
  upstream: '"upstream_id"',
  service: '"service_id"',
  plugin_config: '"plugin_config_id"',
  consumer_group: '"group_id"',
  proto: '"proto_id"',
  stream_route: '"superior_id"',
};

function mentions(bytes: Buffer, kind: KindName): boolean {
  const name = MEMBER_NAMES[kind];
  return name === undefined || bytes.includes(name);
}

function userText(kind: KindName, word: string, id: string): string {
  if (kind === "stream_route") {
    return `can not delete this stream route directly, stream route [${id}] is still using it as superior_id`;
  }
  const directly = kind === "service" ? " directly" : "";
  return `can not delete this ${KINDS[kind].message}${directly}, ${word} [${id}] is still using it now`;
}

function pluginUserText(kind: KindName, word: string, id: string): string {
  // A proto is only ever used through a plugin, and APISIX does not say so.
  return kind === "upstream"
    ? `can not delete this upstream, plugin in ${word} [${id}] is still using it now`
    : userText(kind, word, id);
}
