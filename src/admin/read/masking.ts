/**
 * What a client is shown of a record: private keys of certificates never, secrets to admins only.
 * Source: docs/spec/admin-api.md sections 4 and 5.14.
 */
import { isMembers, type Members, own } from "../../base/json/members.ts";
import { isReference } from "../../base/reference.ts";
import type { Kind } from "../../model/kinds.ts";
import { replaceNamed } from "../../model/named-secrets.ts";
import { replaceSecrets } from "../../model/secret-fields.ts";
import { hideSecrets, isSecretName } from "../../model/secret-names.ts";
import type { Actor, RuleSide } from "../admin-context.ts";
import type { PluginCatalog } from "../plugin-catalog.ts";

export const MASK = "********";

/** What a write answers with: the value as stored, which for sealed members is their cipher text. */
export function echoed(admin: RuleSide, kind: Kind, stored: Members): Members {
  if (kind.name === "signing_key") return maskMember(stored, "private_key");
  if (kind.pluginSide === "consumer") return withoutUnshown(admin.catalog, stored);
  return kind.name === "ssl" && !admin.codec.seals ? withoutKeys(stored) : stored;
}

/** That there is a private key, or which reference stands for it, but not the key. */
function withoutKeys(ssl: Members): Members {
  const copy: Record<string, unknown> = { ...ssl };
  for (const name of ["key", "keys"]) if (own(ssl, name) !== undefined) copy[name] = maskLeaf(ssl[name]);
  return copy;
}

/** What a read answers with. */
export function readable(admin: RuleSide, kind: Kind, id: string, stored: Members, actor: Actor): Members {
  if (kind.name === "signing_key") return maskMember(stored, "private_key");
  const plain = kind.name === "ssl" ? without(stored, ["key", "keys"]) : admin.codec.openShown(kind, id, stored);
  const opened = kind.pluginSide === "consumer" ? withoutUnshown(admin.catalog, plain) : plain;
  return actor.role === "viewer" ? masked(admin.catalog, kind, opened) : opened;
}

/** A stored text that is no object: nothing says what of it is secret. */
export function readableText(text: string, actor: Actor): string {
  return actor.role === "viewer" ? MASK : text;
}

/** The value with every secret replaced; references stay, they are no secrets. */
export function masked(catalog: PluginCatalog, kind: Kind, value: Members): Members {
  if (kind.name === "secret") return maskExcept(value, SECRET_OPEN);
  if (kind.name === "ssl") return withoutKeys(hideInTexts(value));
  // All but this is public, names like "keys" and "kid" included; what stands inside of a text need not be.
  if (kind.name === "token_issuer") return hideInTexts(maskMember(value, "bearer_token"));
  if (kind.name === "authorization_server") return hideInTexts(value);
  if (kind.name === "signing_key") return maskMember(value, "private_key");
  const copy: Record<string, unknown> = {
    ...(kind.name === "plugin_metadata"
      ? replaceSecrets(
          kind,
          value,
          () => [],
          () => MASK,
        )
      : value),
  };
  const plugins = own(value, "plugins");
  if (isMembers(plugins)) {
    copy["plugins"] = Object.fromEntries(
      Object.entries(plugins).map(([name, conf]) => [name, maskDeclared(catalog, name, conf)]),
    );
  }
  return replaceNamed(kind, copy, catalog.declared, (text, _path, isWhole) =>
    isWhole ? MASK : hideSecrets(text, MASK),
  );
}

/** Without what plugins show to nobody: the hashes of clients' secrets. */
function withoutUnshown(catalog: PluginCatalog, value: Members): Members {
  const plugins = own(value, "plugins");
  if (!isMembers(plugins)) return value;
  const shown = Object.entries(plugins).map(([name, conf]) => {
    const unshown = catalog.get(name)?.unshownMembers;
    return [name, unshown && unshown.size > 0 ? leaveOut(conf, "", unshown) : conf];
  });
  return { ...value, plugins: Object.fromEntries(shown) };
}

function leaveOut(value: unknown, path: string, paths: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((item) => leaveOut(item, path, paths));
  if (!isMembers(value)) return value;
  const at = (name: string): string => (path === "" ? name : `${path}.${name}`);
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, member]) =>
      paths.has(at(name)) ? [] : [[name, leaveOut(member, at(name), paths)]],
    ),
  );
}

/** Of records whose members are fixed: secrets inside of their own texts, such as addresses, and under labels that name them. */
function hideInTexts(value: Members): Members {
  const shown = (name: string, member: unknown): unknown => {
    if (name === "labels" && isMembers(member)) {
      return Object.fromEntries(
        Object.entries(member).map(([label, one]) => [label, isSecretName(label) ? MASK : one]),
      );
    }
    return typeof member === "string" && !member.startsWith("-----BEGIN") ? hideSecrets(member, MASK) : member;
  };
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, shown(name, member)]));
}

function maskMember(value: Members, name: string): Members {
  return own(value, name) === undefined ? value : { ...value, [name]: maskLeaf(value[name]) };
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
      if (open.has(name)) return [name, typeof member === "string" ? hideSecrets(member, MASK) : member];
      return [name, isMembers(member) ? maskExcept(member, open) : maskLeaf(member)];
    }),
  );
}

function maskDeclared(catalog: PluginCatalog, name: string, conf: unknown): unknown {
  const secrets = catalog.get(name)?.secretMembers;
  return secrets && secrets.size > 0 ? maskAt(conf, "", secrets) : conf;
}

function maskAt(value: unknown, path: string, paths: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((item) => maskAt(item, path, paths));
  if (!isMembers(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => {
      const here = path === "" ? name : `${path}.${name}`;
      return [name, paths.has(here) ? maskLeaf(member) : maskAt(member, here, paths)];
    }),
  );
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
