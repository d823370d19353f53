/**
 * Opens the sealed members of records as they come from the store, before anything is compiled.
 * Promise: what no key opens is a problem of its record, whose last good unit goes on serving; it never becomes a key.
 * Source: docs/spec/admin-api.md section 8.
 */
import { isSealed, type Keyring } from "../base/keyring.ts";
import { keyOf, type RecordKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import { type DeclaredMembers, declaredIn, replaceSealed } from "../model/named-secrets.ts";
import type { StoredValue } from "../model/record.ts";
import { type PluginFields, replaceSecrets, type SecretPlace } from "../model/secret-fields.ts";
import type { PluginRegistry } from "./plugins/plugin-registry.ts";

/** What `LiveOptions.decrypt` wants. @param keyring undefined: nothing may be sealed @throws Error with the reason */
export function openFields(
  keyring: Keyring | undefined,
  registry: PluginRegistry,
  prefix: string,
): (key: RecordKey, value: StoredValue) => StoredValue {
  const fields = pluginFieldsOf(registry);
  return (key, value) => {
    const open = (text: string, place: SecretPlace): string => {
      if (!keyring) {
        if (isSealed(text)) throw new Error(`${place.path} is sealed, and no keyring is set (encryption.keyring)`);
        return text;
      }
      const opened = keyring.open(text, boundTo(prefix, key, place));
      if (opened.kind === "opened") return opened.text;
      if (opened.kind === "unopenable") throw new Error(`${place.path} cannot be opened: ${opened.reason}`);
      if (place.isPem && !text.startsWith("---")) throw new Error(`${place.path} cannot be opened with the keyring`);
      return text;
    };
    const kind = KINDS[key.kind];
    const declared = replaceSecrets(kind, value, fields, open);
    return replaceSealed(kind, declared, (text, path) => open(text, { path, isPem: false }));
  };
}

/** What a sealed text belongs to. Private keys may move within their record, so that clients can send them back. */
export function boundTo(prefix: string, key: Pick<RecordKey, "kind" | "id">, place: SecretPlace): string {
  return `${keyOf(prefix, key.kind, key.id)}\n${place.isPem ? "private key" : place.path}`;
}

/** The members that plugins' schemas name, of all sides; looked up once per plugin. */
export function declaredMembersOf(registry: Pick<PluginRegistry, "schema">): DeclaredMembers {
  const known = new Map<string, ReadonlySet<string>>();
  return (name) => {
    const found = known.get(name);
    if (found) return found;
    const schemas = SIDES.flatMap((side) => registry.schema(name, side) ?? []);
    if (schemas.length === 0) return NONE;
    const members = new Set(schemas.flatMap((schema) => [...declaredIn(schema)]));
    known.set(name, members);
    return members;
  };
}

const SIDES = ["route", "consumer", "metadata"] as const;
const NONE: ReadonlySet<string> = new Set();

export function pluginFieldsOf(registry: Pick<PluginRegistry, "get">): PluginFields {
  return (name, side) => {
    const plugin = registry.get(name);
    return (side === "consumer" ? plugin?.credential?.encryptFields : undefined) ?? plugin?.encryptFields ?? [];
  };
}
