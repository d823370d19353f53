/**
 * HashiCorp Vault, KV engine version 1 exactly as APISIX asks it, and version 2 when the record says `kv_version: 2`.
 * Promise: a reference never leaves the record's prefix; requests for several fields of one path are one request.
 * Source: docs/spec/secrets.md section 3.
 */
import { messageOf } from "../../base/errors.ts";
import { isMembers } from "../../base/json/members.ts";
import type { VaultSecret } from "../../model/secret.ts";
import { foundIn, type ManagerTools, parseDocument, type Reading, type SecretManager } from "./reading.ts";

export function openVault(conf: VaultSecret, tools: ManagerTools): SecretManager {
  const underWay = new Map<string, Promise<Reading>>();

  /** The fields at a path, as one document. */
  const readPath = async (path: string): Promise<Reading> => {
    try {
      const target = targetOf(conf, path);
      if (target === undefined) return { kind: "absent", why: `the path leaves the prefix, key: ${path}` };
      const answer = await tools.exchange({
        method: "GET",
        url: conf.uri.replace(/\/+$/, "") + target,
        headers: {
          "X-Vault-Token": tools.resolveEnv(conf.token),
          ...(conf.namespace === undefined ? {} : { "X-Vault-Namespace": conf.namespace }),
        },
        body: "{}",
        ...(conf.timeout === undefined ? {} : { timeoutMs: conf.timeout * 1000 }),
      });
      const outer = parseDocument(answer.body);
      const data = isMembers(outer) ? outer["data"] : undefined;
      const fields = conf.kv_version === 2 && isMembers(data) ? data["data"] : data;
      if (isMembers(fields)) return { kind: "found", value: fields };
      // Not the body, as APISIX has it: it may hold more than a log should.
      const why = `failed to decode result, status ${answer.status}`;
      const isAnswer = answer.status === 404 || (answer.status >= 200 && answer.status < 300);
      return { kind: isAnswer ? "absent" : "unavailable", why };
    } catch (error) {
      return { kind: "unavailable", why: `failed to retrtive data from vault kv engine: ${messageOf(error)}` };
    }
  };

  return {
    async read(key) {
      const cut = key.lastIndexOf("/");
      if (cut < 0) return { kind: "absent", why: `error key format, key: ${key}` };
      const path = key.slice(0, cut);
      const field = key.slice(cut + 1);
      if (path === "") return { kind: "absent", why: `can't find main key, key: ${key}` };
      if (field === "") return { kind: "absent", why: `can't find sub key, key: ${key}` };
      let reading = underWay.get(path);
      if (reading === undefined) {
        reading = readPath(path).finally(() => underWay.delete(path));
        underWay.set(path, reading);
      }
      const document = await reading;
      return document.kind === "found" ? foundIn(document.value, field) : document;
    },
  };
}

/** The request's target; undefined when dots in the path lead out of the prefix. */
function targetOf(conf: VaultSecret, path: string): string | undefined {
  const prefix = segmentsOf(conf.prefix);
  const below = segmentsOf(path);
  if (!prefix || !below || below.length === 0) return undefined;
  // Version 2 has the mount, which is taken to be the prefix's first segment, then "data".
  const mounted = conf.kv_version === 2 ? [...prefix.slice(0, 1), "data", ...prefix.slice(1)] : prefix;
  return `/v1/${[...mounted, ...below].map(escapeSegment).join("/")}`;
}

/** Collapses "//", "." and ".."; undefined when ".." climbs above the start. */
function segmentsOf(path: string): string[] | undefined {
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment !== "..") kept.push(segment);
    else if (kept.pop() === undefined) return undefined;
  }
  return kept;
}

/** Escapes what is no path character by RFC 3986; "%" itself too, so that no escape in a reference means anything. */
function escapeSegment(segment: string): string {
  return encodeURIComponent(segment).replace(/%(?:21|24|26|27|28|29|2A|2B|2C|3A|3B|3D|40)/g, decodeURIComponent);
}
