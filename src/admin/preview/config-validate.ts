/**
 * `POST /configs/validate`: checks a whole configuration without the store, and lists everything that is wrong.
 * Source: docs/spec/admin-api.md section 6.
 */
import { parse } from "yaml";
import { messageOf } from "../../base/errors.ts";
import { parseJson } from "../../base/json/json.ts";
import { isMembers, type Members, own } from "../../base/json/members.ts";
import { luaType } from "../../base/schema/lua-values.ts";
import { KINDS, type Kind } from "../../model/kinds.ts";
import { readJson } from "../admin-body.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { type CheckEnv, contentError, prepareConsumer, shapeError } from "../write/candidate-check.ts";

interface Finding {
  readonly resource_type: string;
  readonly resource_id?: string | number;
  /** Counted from 0. */
  readonly index?: number;
  readonly error: string;
}

export function validateConfigs(
  env: CheckEnv,
  bytes: Buffer,
  contentType: string | undefined,
  strict: boolean,
): AdminAnswer {
  if (bytes.length === 0) return refuse(400, "invalid request body: empty request body");
  const read = (contentType ?? "").startsWith("application/yaml") ? readYaml(bytes) : readJson(bytes, strict);
  if (!read.ok) return refuse(400, `invalid request body: ${read.error}`);
  if (!isMembers(read.value)) return refuse(400, "invalid request body: not an object");
  const errors = Object.values(KINDS).flatMap((kind) => validateKind(env, kind, read.value as Members));
  if (errors.length === 0) return { status: 200, body: {} };
  return refuse(400, "Configuration validation failed", { errors });
}

function readYaml(bytes: Buffer): ReturnType<typeof parseJson> {
  try {
    // Read twice: once as YAML with few aliases, then by the rules of every other body.
    return parseJson(JSON.stringify(parse(bytes.toString("utf8"), { maxAliasCount: 100 })) ?? "");
  } catch (error) {
    return { ok: false, error: `invalid yaml request body: ${messageOf(error).split("\n")[0]}` };
  }
}

function validateKind(env: CheckEnv, kind: Kind, all: Members): Finding[] {
  const findings: Finding[] = [];
  const resource_type = kind.dir;
  const version = own(all, `${kind.dir}_conf_version`);
  if (version !== undefined && typeof version !== "number") {
    const got = typeof version === "object" ? "table" : typeof version;
    findings.push({ resource_type, error: `${kind.dir}_conf_version must be a number, got ${got}` });
  }
  const items = own(all, kind.dir);
  if (items === undefined || kind.name === "credential") return findings; // credentials stand among the consumers
  if (!Array.isArray(items)) {
    findings.push({ resource_type, error: `${kind.dir} must be an array` });
    return findings;
  }
  const seen = new Set<string>();
  for (const [index, item] of items.entries()) {
    const place = { resource_type, resource_id: identifierOf(item), index };
    const error = itemError(env, kind, item);
    if (error !== undefined) findings.push({ ...place, error });
    const duplicate = duplicateError(kind, item, seen);
    if (duplicate !== undefined) findings.push({ ...place, error: duplicate });
  }
  return findings;
}

function itemError(env: CheckEnv, kind: Kind, item: unknown): string | undefined {
  if (!isMembers(item)) return `invalid configuration: wrong type: expected object, got ${luaType(item)}`;
  const id = String(identifierOf(item));
  const actual = kind.name === "consumer" && id.includes("/credentials/") ? KINDS.credential : kind;
  return recordWriteError(env, actual, id, item);
}

/** Why a write would be refused, as far as that needs no other record. @param id as keys have it */
export function recordWriteError(env: CheckEnv, kind: Kind, id: string, item: Members): string | undefined {
  if (kind.name === "secret" && !id.includes("/")) return `invalid secret id: ${id}`;
  // A plugin's own metadata schema knows no id.
  const checked =
    kind.id === "plugin" ? Object.fromEntries(Object.entries(item).filter(([name]) => name !== "id")) : item;
  const prepared = prepareConsumer(env.catalog, kind, checked, undefined, 0);
  if (typeof prepared === "string") return prepared;
  return shapeError(env, kind, id, prepared.value) ?? contentError(env, kind, prepared.value);
}

function identifierOf(item: unknown): string | number {
  if (!isMembers(item)) return "";
  const id = own(item, "id") ?? own(item, "username");
  return typeof id === "string" || typeof id === "number" ? id : "";
}

function duplicateError(kind: Kind, item: unknown, seen: Set<string>): string | undefined {
  if (!isMembers(item)) return undefined;
  const byName = kind.name === "consumer" && own(item, "id") === undefined;
  const id = kind.name === "consumer" ? identifierOf(item) : (own(item, "id") ?? "");
  if (id === "") return undefined;
  const key = String(id);
  if (!seen.has(key)) {
    seen.add(key);
    return undefined;
  }
  const what = kind.name !== "consumer" ? "id" : byName ? "username" : "credential id";
  return `found duplicate ${what} ${key} in ${kind.dir}`;
}
