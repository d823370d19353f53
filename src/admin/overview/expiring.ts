/**
 * What ends soon: certificates, as the records under `ssls` have them, and signing keys that no other follows. Read at most
 * once a minute, however many ask.
 */
import { X509Certificate } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { dirOf, parseKey } from "../../model/keys.ts";
import { type EndingKey, endingKeys, type SigningKey } from "../../model/signing-key.ts";
import { prefixRange } from "../../store/store.ts";
import type { StoreSide } from "../admin-context.ts";
import { toStored } from "../read/stored-record.ts";

const KEPT_MS = 60_000;
const SOON_MS = 30 * 86_400_000;
const SHOWN_MAX = 100;

export interface EndingSoon {
  readonly certificates: readonly Expiring[];
  readonly keys: readonly EndingKey[];
}

interface Expiring {
  /** Of the record. */
  readonly key: string;
  readonly names: readonly string[];
  /** Seconds since 1970. */
  readonly ends: number;
}

export function openExpiring(side: StoreSide): () => Promise<EndingSoon> {
  let kept: { readonly list: Promise<EndingSoon>; readonly untilMs: number } | undefined;
  return () => {
    const now = side.clock.monotonicMs();
    if (kept && kept.untilMs > now) return kept.list;
    const mine = { list: readEndingSoon(side), untilMs: now + KEPT_MS };
    kept = mine;
    mine.list.catch(() => {
      if (kept === mine) kept = undefined;
    });
    return mine.list;
  };
}

async function readEndingSoon(side: StoreSide): Promise<EndingSoon> {
  const [certificates, keys] = await Promise.all([readExpiring(side, side.clock), readEndingKeys(side)]);
  return { certificates, keys };
}

async function readEndingKeys({ store, prefix, clock }: StoreSide): Promise<readonly EndingKey[]> {
  const records: SigningKey[] = [];
  for await (const page of store.list(prefixRange(dirOf(prefix, "signing_key")))) {
    for (const kv of page.kvs) {
      const parsed = parseKey(prefix, kv.key);
      const { value } = toStored(kv);
      const [server = "", kid = ""] = parsed?.id.split("/") ?? [];
      // True enough: times that are no numbers make comparisons false, and nodes refuse such a record.
      if (value && parsed) records.push({ authorization_server: server, kid, ...(value as unknown as SigningKey) });
    }
  }
  return endingKeys(records, clock.nowMs() / 1_000, SOON_MS / 1_000).slice(0, SHOWN_MAX);
}

/** The soonest first. */
async function readExpiring({ store, prefix }: StoreSide, clock: Clock): Promise<readonly Expiring[]> {
  const found: Expiring[] = [];
  for await (const page of store.list(prefixRange(dirOf(prefix, "ssl")))) {
    for (const kv of page.kvs) {
      const { value } = toStored(kv);
      if (!value || parseKey(prefix, kv.key)?.kind !== "ssl") continue;
      const certs = [value["cert"], ...(Array.isArray(value["certs"]) ? value["certs"] : [])];
      const ends = Math.min(...certs.map(endOf));
      if (ends - clock.nowMs() > SOON_MS) continue;
      const { snis, sni } = value;
      const names = [...(Array.isArray(snis) ? snis : [sni])].filter(
        (name): name is string => typeof name === "string",
      );
      found.push({ key: kv.key, names, ends: Math.floor(ends / 1_000) });
    }
  }
  return found.sort((a, b) => a.ends - b.ends).slice(0, SHOWN_MAX);
}

/** Milliseconds since 1970; what is no certificate never ends here: problems tell of it. */
function endOf(pem: unknown): number {
  if (typeof pem !== "string") return Number.POSITIVE_INFINITY;
  try {
    return Date.parse(new X509Certificate(pem).validTo);
  } catch {
    return Number.POSITIVE_INFINITY; // a reference, or nothing that is one
  }
}
