/**
 * The rules by which a run is judged at its end; each returns what broke it, in words, or nothing.
 * Guarantees: G2 order of revisions, G3 nothing lost, G4 no phantom, G5 all nodes alike.
 */
import { parseKey } from "../../src/model/keys.ts";
import { PLACEHOLDER } from "../../src/model/record.ts";
import { parseRevocationKey } from "../../src/model/revocation.ts";
import type { KeyValue } from "../../src/store/store.ts";
import { ConfigHash } from "../../src/sync/config-hash.ts";
import type { History } from "./history.ts";
import type { LedgerEntry } from "./ledger.ts";
import { configOf, type NodeConfig } from "./scrape.ts";

const PREFIX = "/apisix";

/** The hash that a node shows when it holds exactly these records. */
export function hashOf(records: readonly KeyValue[]): string {
  const hash = new ConfigHash();
  for (const { key, modRevision, value } of records)
    if ((parseKey(PREFIX, key) ?? parseRevocationKey(PREFIX, key)) && value.toString("utf8") !== PLACEHOLDER)
      hash.add(key, modRevision, value);
  return hash.text();
}

/** Every 2xx happened, nothing that was refused did, nothing happened twice or that nobody asked for. */
export function checkLedger(entries: readonly LedgerEntry[], history: History, final: readonly KeyValue[]): string[] {
  const wrong: string[] = history.gap === undefined ? [] : [`the history has a gap: ${history.gap}`];
  const ours = new Set(entries.map(({ key }) => key));
  const seen = new Map<string, bigint>();
  const deletes = new Map<string, number>();
  const last = new Map<string, string | undefined>();
  for (const { key, value, revision } of history.events) {
    if (!ours.has(key)) continue;
    const nonce = value === undefined ? undefined : nonceOf(value);
    last.set(key, nonce);
    if (value === undefined) deletes.set(key, (deletes.get(key) ?? 0) + 1);
    else if (nonce === undefined || seen.has(nonce))
      wrong.push(`revision ${revision} of ${key} is ${nonce} once more: done twice, or by nobody`);
    else seen.set(nonce, revision);
  }
  for (const entry of entries) {
    if (entry.op === "delete") continue;
    const happened = seen.has(entry.nonce);
    if (entry.outcome === "done" && !happened) wrong.push(`lost: ${sayEntry(entry)}`);
    if (entry.outcome === "refused" && happened) wrong.push(`phantom: ${sayEntry(entry)}`);
  }
  const known = new Set(entries.map(({ nonce }) => nonce));
  for (const [nonce, revision] of seen) if (!known.has(nonce)) wrong.push(`nobody asked for ${nonce} at ${revision}`);
  for (const key of ours) {
    const asked = entries.filter((entry) => entry.key === key && entry.op === "delete");
    const done = asked.filter(({ outcome }) => outcome === "done").length;
    const unknown = asked.filter(({ outcome }) => outcome === "unknown").length;
    const happened = deletes.get(key) ?? 0;
    if (happened < done || happened > done + unknown)
      wrong.push(`${key} was deleted ${happened} times; asked and done ${done}, unknown ${unknown}`);
    const held = final.find((kv) => kv.key === key);
    const nonce = held && nonceOf(held.value.toString("utf8"));
    if (nonce !== last.get(key)) wrong.push(`${key} is ${nonce} in the store, ${last.get(key)} in its history`);
  }
  return wrong;
}

/** Where each key is written by one writer only: what was acknowledged earlier has the lower revision. */
export function checkOrder(entries: readonly LedgerEntry[], history: History): string[] {
  const revisions = new Map<string, bigint>();
  for (const { value, revision } of history.events) {
    const nonce = value === undefined ? undefined : nonceOf(value);
    if (nonce !== undefined) revisions.set(nonce, revision);
  }
  const before = new Map<string, bigint>();
  const wrong: string[] = [];
  for (const { key, nonce } of entries) {
    const revision = revisions.get(nonce);
    if (revision === undefined) continue;
    if (revision < (before.get(key) ?? 0n)) wrong.push(`${nonce} of ${key} came before what was answered before it`);
    before.set(key, revision);
  }
  return wrong;
}

/** Every node holds exactly the final list. */
export async function checkNodes(
  nodes: readonly { readonly status: string; readonly control: string }[],
  final: readonly KeyValue[],
): Promise<string[]> {
  const wrong: string[] = [];
  const want = hashOf(final);
  for (const node of nodes) {
    const config = await configOf(node);
    if (config.hash === want) continue;
    wrong.push(`${node.status} has hash ${config.hash} at revision ${config.revision}, not ${want}`);
    wrong.push(...(await difference(node, final)));
  }
  return wrong;
}

/** Key by key, as far as the node shows its records. */
async function difference(node: { readonly control: string }, final: readonly KeyValue[]): Promise<string[]> {
  const answer = await fetch(`${node.control}/v1/routes`);
  const held = new Map<string, number>();
  for (const { key, modifiedIndex } of (await answer.json()) as { key: string; modifiedIndex: number }[])
    held.set(key, modifiedIndex);
  const wrong: string[] = [];
  for (const { key, modRevision } of final) {
    if (!key.startsWith(`${PREFIX}/routes/`) || key.endsWith("/")) continue;
    if (held.get(key) !== Number(modRevision)) wrong.push(`  ${key}: ${held.get(key)} instead of ${modRevision}`);
    held.delete(key);
  }
  for (const key of held.keys()) wrong.push(`  ${key} is not in the store`);
  return wrong.slice(0, 20);
}

/** What a node said over time: revisions never go back, and once loaded it stays so. */
export function checkSamples(samples: readonly NodeConfig[]): string[] {
  const wrong: string[] = [];
  let before: NodeConfig | undefined;
  for (const sample of samples) {
    if (before && sample.revision < before.revision)
      wrong.push(`applied went back from ${before.revision} to ${sample.revision}`);
    if (before?.loaded && !sample.loaded) wrong.push(`not loaded any more at revision ${sample.revision}`);
    before = sample;
  }
  return wrong;
}

function nonceOf(value: string): string | undefined {
  return /"desc":"(n\d+-[a-z0-9]+)"/.exec(value)?.[1];
}

function sayEntry({ op, key, nonce, status, text }: LedgerEntry): string {
  return `${op} ${key} ${nonce} was answered by ${status} ${text.slice(0, 120)}`;
}
