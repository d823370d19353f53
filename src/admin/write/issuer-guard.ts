/**
 * An `iss` belongs to one record only: whose keys would verify its tokens otherwise? The rule spans records, so all
 * writes of issuers are put in a row by one guard key.
 * Source: docs/spec/tokens.md section 2.
 */
import { dirOf, parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import { sharedIssuer } from "../../model/token-issuer.ts";
import { prefixRange, type Store } from "../../store/store.ts";
import { type Members, toStored } from "../read/stored-record.ts";
import { issuersKey } from "../store-paths.ts";
import type { Plan } from "./write-plan.ts";

const ISSUER_KINDS = ["token_issuer", "authorization_server"] as const;
type IssuerKind = (typeof ISSUER_KINDS)[number];

/** @returns the error's text when another record has one of the issuers; else `plan` fails when one comes in between. */
export async function planIssuer(
  store: Store,
  prefix: string,
  plan: Plan,
  kind: IssuerKind,
  id: string,
  value: Members,
): Promise<string | undefined> {
  const guard = issuersKey(prefix);
  const { kv: before } = await store.get(guard);
  for (const one of ISSUER_KINDS) {
    for await (const page of store.list(prefixRange(dirOf(prefix, one)))) {
      for (const kv of page.kvs) {
        const key = parseKey(prefix, kv.key);
        const other = key && (one !== kind || key.id !== id) ? toStored(kv).value : undefined;
        const shared = other && sharedIssuer(value, other);
        if (shared !== undefined) return `issuer ${shared} is already that of ${KINDS[one].dir}/${key?.id}`;
      }
    }
  }
  plan.expect(guard, before?.modRevision ?? 0n);
  plan.put(guard, id);
  return undefined;
}
