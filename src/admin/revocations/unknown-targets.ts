/**
 * Consumers and issuers that a revocation names and no record has: a typing error must not look like a success.
 */
import { dirOf, keyOf } from "../../model/keys.ts";
import { sharedIssuer } from "../../model/token-issuer.ts";
import { prefixRange } from "../../store/store.ts";
import type { StoreSide } from "../admin-context.ts";
import { toStored } from "../read/stored-record.ts";
import type { WantedRule } from "./revocation-body.ts";

/** Most different names that are looked up in a call. */
const LOOKED_UP_MAX = 100;

/** @param entries valid ones @returns warnings */
export async function unknownTargets(
  admin: StoreSide,
  entries: readonly unknown[],
  rules: readonly WantedRule[],
): Promise<readonly object[]> {
  return [...(await unknownConsumers(admin, rules)), ...(await unknownIssuers(admin, entries))];
}

async function unknownConsumers(admin: StoreSide, rules: readonly WantedRule[]): Promise<readonly object[]> {
  const names = new Set(rules.filter(({ type }) => type === "consumer").map(({ value }) => value));
  const warnings: object[] = [];
  for (const name of [...names].slice(0, LOOKED_UP_MAX)) {
    const key = keyOf(admin.prefix, "consumer", name);
    if (Buffer.byteLength(key, "utf8") <= 512 && (await admin.store.get(key)).kv) continue;
    warnings.push({
      code: "unknown_consumer",
      key,
      message: "there is no consumer of this name: nothing is refused by it",
    });
  }
  return warnings;
}

async function unknownIssuers(admin: StoreSide, entries: readonly unknown[]): Promise<readonly object[]> {
  const named = entries.map((entry) => (entry as { readonly issuer?: unknown }).issuer);
  const issuers = new Set(named.filter((one) => typeof one === "string"));
  const unknown = new Set([...issuers].slice(0, LOOKED_UP_MAX));
  for (const kind of ["token_issuer", "authorization_server"] as const) {
    if (unknown.size === 0) break;
    for await (const page of admin.store.list(prefixRange(dirOf(admin.prefix, kind)))) {
      for (const kv of page.kvs) {
        const { value } = toStored(kv);
        if (!value) continue;
        for (const issuer of unknown) if (sharedIssuer({ issuer }, value) !== undefined) unknown.delete(issuer);
      }
    }
  }
  return [...unknown].map((issuer) => ({
    code: "unknown_issuer",
    key: dirOf(admin.prefix, "token_issuer"),
    message: `no record of token_issuers or authorization_servers has the issuer ${issuer}: check how it is written`,
  }));
}
