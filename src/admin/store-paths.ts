/**
 * Keys that the Admin API keeps beside the records. All but the store's identity live outside the watched prefix
 * (`P-jotgate/` sorts before `P/`), so that their chatter reaches no gateway node.
 * Source: docs/spec/etcd.md sections 6 and 8.
 */
import { createHash } from "node:crypto";
import type { KindName } from "../model/kinds.ts";

/** {id, epoch}: written once, tells nodes that this is the store they know. */
export function storeIdentityKey(prefix: string): string {
  return `${prefix}/jotgate/store`;
}

/** Owners of an identifying value of a plugin. @param digest of the value, never the value */
export function uniqueKey(prefix: string, plugin: string, digest: string): string {
  return `${uniqueDir(prefix)}${plugin}/${digest}`;
}

export function uniqueDir(prefix: string): string {
  return `${prefix}-jotgate/unique/`;
}

/** Written whenever a record begins to point to another, so that a deletion sees who came in between. */
export function referenceGuardKey(prefix: string, kind: KindName, id: string): string {
  // Ids of others may be of any length and shape; a digest is not.
  const name = /^[a-zA-Z0-9-_.]{1,128}$/.test(id) ? id : `~${createHash("sha256").update(id).digest("hex")}`;
  return `${prefix}-jotgate/pointed/${kind}/${name}`;
}

/** Written with every global rule: their rule of one plugin per rule spans all of them. */
export function globalRulesKey(prefix: string): string {
  return `${prefix}-jotgate/guard/global_rules`;
}

/** Written with every issuer of tokens: an `iss` belongs to one of them. */
export function issuersKey(prefix: string): string {
  return `${prefix}-jotgate/guard/token_issuers`;
}

/** Written whenever keys of an authorization server are made or changed, so that two admins make one. */
export function signingKeysGuardKey(prefix: string, server: string): string {
  return `${prefix}-jotgate/guard/signing_keys/${server}`;
}

/** Written with every plugin configuration that spans records (limit-count groups). */
export function pluginGroupsKey(prefix: string): string {
  return `${prefix}-jotgate/guard/plugin_groups`;
}

/** Rewritten for each POST to obtain a revision; real APISIX nodes use the same key. */
export function generatorKey(prefix: string): string {
  return `${prefix}/gen_id`;
}

/** Entries of the history as they may be shown; keys are ordered by time. */
export function historyDir(prefix: string): string {
  return `${prefix}-jotgate/history/`;
}

/** What records were before a write, under the same ids as the history. */
export function restoreDir(prefix: string): string {
  return `${prefix}-jotgate/restore/`;
}

/** Written with every entry of the history, so that a rollback notices a write that comes in between. */
export function historyGuardKey(prefix: string): string {
  return `${prefix}-jotgate/guard/history`;
}
