/**
 * Where records hold secrets, and a walk that replaces them: what plugins declare, private keys of certificates, access to
 * secret managers.
 * Promise: the value given is not changed; what is not replaced is shared with the copy; references are no secrets.
 * Source: docs/spec/admin-api.md section 8.
 */
import { isMembers, type Members } from "../base/json/members.ts";
import { isReference } from "../base/reference.ts";
import type { Kind } from "./kinds.ts";

/** Dotted paths of the secrets in a plugin's configuration. */
export type PluginFields = (plugin: string, side: "route" | "consumer") => readonly string[];

export interface SecretPlace {
  /** `plugins.jwt-auth.secret`; the same for all items of a list. */
  readonly path: string;
  /** A private key: plain text is told by its first dashes. */
  readonly isPem: boolean;
}

/** @returns what stands there instead; the same text to leave it */
type ReplaceSecret = (text: string, place: SecretPlace) => string;

/** A copy with every secret text of a record replaced; the same object when none was. */
export function replaceSecrets(kind: Kind, value: Members, fields: PluginFields, replace: ReplaceSecret): Members {
  let copy = value;
  for (const { path, isPem } of placesIn(kind, value, fields)) {
    const place: SecretPlace = { path: path.join("."), isPem };
    // True: replacing below an object gives an object.
    copy = replaceAt(copy, path, 0, (text) => (isReference(text) ? text : replace(text, place))) as Members;
  }
  return copy;
}

interface Place {
  readonly path: readonly string[];
  readonly isPem: boolean;
}

function* placesIn(kind: Kind, value: Members, fields: PluginFields): Generator<Place, void> {
  const { plugins } = value;
  if (kind.pluginSide && isMembers(plugins)) {
    for (const name of Object.keys(plugins)) {
      for (const field of fields(name, kind.pluginSide)) {
        yield { path: ["plugins", name, ...field.split(".")], isPem: false };
      }
    }
  }
  yield* FIXED[kind.name] ?? NONE;
}

const CLIENT_KEY = ["tls", "client_key"];
const pem = (...path: string[]): Place => ({ path, isPem: true });
const text = (...path: string[]): Place => ({ path, isPem: false });
const NONE: readonly Place[] = [];

const FIXED: Readonly<Record<string, readonly Place[]>> = {
  ssl: [pem("key"), pem("keys")],
  upstream: [pem(...CLIENT_KEY)],
  route: [pem("upstream", ...CLIENT_KEY)],
  service: [pem("upstream", ...CLIENT_KEY)],
  stream_route: [pem("upstream", ...CLIENT_KEY)],
  token_issuer: [text("bearer_token")],
  signing_key: [pem("private_key")],
  plugin_metadata: [text("collector", "request_headers")], // of opentelemetry
  // Of all managers, since their members do not meet.
  secret: [text("token"), text("secret_access_key"), text("session_token"), text("auth_config", "private_key")],
};

type Replace = (text: string) => string;

/** Lists are walked through wherever they stand; at the end of a path a text, a list or a map of texts is replaced. */
function replaceAt(value: unknown, path: readonly string[], at: number, replace: Replace): unknown {
  if (Array.isArray(value)) return replaceEach(value, (item) => replaceAt(item, path, at, replace));
  const name = path[at];
  if (name === undefined) return replaceLeaves(value, replace);
  if (!isMembers(value) || !Object.hasOwn(value, name)) return value;
  const before = value[name];
  const after = replaceAt(before, path, at + 1, replace);
  return after === before ? value : { ...value, [name]: after };
}

function replaceLeaves(value: unknown, replace: Replace): unknown {
  if (typeof value === "string") return replace(value);
  if (!isMembers(value)) return value;
  const entries = Object.entries(value);
  const replaced = entries.map(([name, leaf]) => [name, typeof leaf === "string" ? replace(leaf) : leaf] as const);
  return replaced.every(([, leaf], n) => leaf === entries[n]?.[1]) ? value : Object.fromEntries(replaced);
}

function replaceEach(items: readonly unknown[], replace: (item: unknown) => unknown): readonly unknown[] {
  const replaced = items.map(replace);
  return replaced.every((item, n) => item === items[n]) ? items : replaced;
}
