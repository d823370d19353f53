/**
 * What a client is shown of a record: private keys of certificates never, secrets to admins only.
 * Source: docs/spec/admin-api.md sections 4 and 5.14.
 */
import { isReference } from "../../base/reference.ts";
import type { Kind } from "../../model/kinds.ts";
import type { Actor, Engine } from "../admin-context.ts";
import type { PluginCatalog } from "../plugin-catalog.ts";
import { type Members, own } from "./stored-record.ts";

export const MASK = "********";

/** What a write answers with: the value as stored, which for sealed members is their cipher text. */
export function echoed(engine: Engine, kind: Kind, stored: Members): Members {
  return kind.name === "ssl" && !engine.codec.seals ? withoutKeys(stored) : stored;
}

/** That there is a private key, or which reference stands for it, but not the key. */
function withoutKeys(ssl: Members): Members {
  const copy: Record<string, unknown> = { ...ssl };
  for (const name of ["key", "keys"]) if (own(ssl, name) !== undefined) copy[name] = maskLeaf(ssl[name]);
  return copy;
}

/** What a read answers with. */
export function readable(engine: Engine, kind: Kind, id: string, stored: Members, actor: Actor): Members {
  const opened = kind.name === "ssl" ? without(stored, ["key", "keys"]) : engine.codec.openShown(kind, id, stored);
  return actor.role === "viewer" ? masked(engine.catalog, kind, opened) : opened;
}

/** The value with every secret replaced; references stay, they are no secrets. */
export function masked(catalog: PluginCatalog, kind: Kind, value: Members): Members {
  if (kind.name === "secret") return maskExcept(value, SECRET_OPEN);
  if (kind.name === "plugin_metadata") return maskAt(value, "", NO_PATHS) as Members; // an object stays one
  const copy: Record<string, unknown> = { ...value };
  const plugins = own(value, "plugins");
  if (isMembers(plugins)) {
    copy["plugins"] = Object.fromEntries(
      Object.entries(plugins).map(([name, conf]) => [name, maskPlugin(catalog, name, conf)]),
    );
  }
  if (kind.name === "ssl") Object.assign(copy, withoutKeys(value));
  if (kind.name === "upstream") maskTls(copy);
  const upstream = own(value, "upstream");
  if (isMembers(upstream)) {
    const inner = { ...upstream };
    maskTls(inner);
    copy["upstream"] = inner;
  }
  return copy;
}

/** Members of secret managers that are no secrets; what is not named here is masked. */
const SECRET_OPEN: ReadonlySet<string> = new Set([
  "id",
  "uri",
  "prefix",
  "namespace",
  "kv_version",
  "timeout",
  "region",
  "endpoint_url",
  "ssl_verify",
  "auth_file",
  "create_time",
  "update_time",
  "client_email",
  "project_id",
  "token_uri",
  "scope",
  "entries_uri",
]);

function maskExcept(value: Members, open: ReadonlySet<string>): Members {
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => {
      if (open.has(name)) return [name, member];
      return [name, isMembers(member) ? maskExcept(member, open) : maskLeaf(member)];
    }),
  );
}

// Beside what a plugin declares: plugins of others, and members that nobody thought of.
const SUSPICIOUS = /secret|passw|token|private|credential|api[_-]?key|access[_-]?key|client_key|authorization/i;
const NO_PATHS: ReadonlySet<string> = new Set();

function maskPlugin(catalog: PluginCatalog, name: string, conf: unknown): unknown {
  const plugin = catalog.get(name);
  const paths = new Set([...(plugin?.encryptFields("route") ?? []), ...(plugin?.encryptFields("consumer") ?? [])]);
  return maskAt(conf, "", paths);
}

function maskAt(value: unknown, path: string, paths: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return maskItems(value).map((item) => maskAt(item, path, paths));
  if (typeof value === "string") return value.replace(USER_INFO, `//${MASK}@`);
  if (!isMembers(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => {
      const here = path === "" ? name : `${path}.${name}`;
      if (paths.has(here)) return [name, maskLeaf(member)];
      return [name, SUSPICIOUS.test(name) ? maskTexts(member) : maskAt(member, here, paths)];
    }),
  );
}

/** Below a suspicious name: every text, in lists and objects too; numbers and switches say nothing. */
function maskTexts(value: unknown): unknown {
  if (typeof value === "string") return maskLeaf(value);
  if (Array.isArray(value)) return value.map(maskTexts);
  if (!isMembers(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, maskTexts(one)]));
}

/** Two ways in which lists name what they hold: `["http_x_token", "==", "…"]` and `"Authorization: …"`. */
function maskItems(items: readonly unknown[]): readonly unknown[] {
  const [first] = items;
  if (items.length > 2 && typeof first === "string" && SUSPICIOUS.test(first) && !first.includes(":"))
    return [first, items[1], ...items.slice(2).map(maskTexts)];
  return items.map((item) => (typeof item === "string" ? item.replace(HEADER_LINE, maskHeaderLine) : item));
}

const USER_INFO = /\/\/[^/?#@\s]+@/g;
const HEADER_LINE = /^([\w-]+)(:\s*)(.+)$/s;

function maskHeaderLine(line: string, name: string, colon: string): string {
  return SUSPICIOUS.test(name) ? `${name}${colon}${MASK}` : line;
}

function maskTls(upstream: Record<string, unknown>): void {
  const tls = own(upstream, "tls");
  if (isMembers(tls) && own(tls, "client_key") !== undefined) upstream["tls"] = { ...tls, client_key: MASK };
}

function maskLeaf(value: unknown): unknown {
  if (typeof value === "string") return isReference(value) ? value : MASK;
  if (Array.isArray(value)) return value.map(maskLeaf);
  return isMembers(value)
    ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, maskLeaf(one)]))
    : MASK;
}

function without(value: Members, names: readonly string[]): Members {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));
}

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
