/**
 * What is revoked: the list of rules with counts of tokens, and whether one token is.
 */
import type { Claims } from "../../base/jose/token.ts";
import type { Members } from "../../base/json/members.ts";
import { credentialId } from "../../model/keys.ts";
import {
  decodeRule,
  endOfHour,
  HOUR_UNKNOWN,
  hourOf,
  type RevocationRule,
  ruleName,
  rulesDir,
} from "../../model/revocation.ts";
import type { AdminContext, AdminRequest, ReadSide, StoreSide } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "../admin-response.ts";
import { uniqueKey } from "../store-paths.ts";
import { fingerprintsOf, parseToken, readWanted } from "./revocation-body.ts";
import { shownRule } from "./revocation-ledger.ts";
import { isStored, listBatches, listRules } from "./revocation-store.ts";
import { readEntries, timesOf } from "./revoke.ts";

const PAGE_SIZE = 100;
const PAGE_SIZE_MAX = 500;

/** `GET /revocations`: rules, newest first, and how many tokens are revoked by themselves, by the hour in which they end. */
export async function listRevocations(admin: StoreSide, request: AdminRequest): Promise<AdminAnswer> {
  const page = wholeIn(request.args.get("page"), 1);
  const size = wholeIn(request.args.get("page_size"), PAGE_SIZE);
  if (page === undefined) return refuse(400, "invalid argument page: should be a whole number from 1");
  if (size === undefined || size > PAGE_SIZE_MAX) {
    return refuse(400, `invalid argument page_size: should be a whole number from 1 to ${PAGE_SIZE_MAX}`);
  }
  const [rules, batches] = await Promise.all([listRules(admin), listBatches(admin)]);
  const byHour = new Map<number, number>();
  for (const { hour, entries } of batches) byHour.set(hour, (byHour.get(hour) ?? 0) + entries);
  const hours = [...byHour].sort(([a], [b]) => a - b);
  const newest = [...rules].sort((a, b) => b.rule.writtenMs - a.rule.writtenMs);
  return {
    status: 200,
    body: {
      list: newest.slice((page - 1) * size, page * size).map(({ name, rule }) => shownEntry(name, rule)),
      total: rules.length,
      tokens: {
        total: hours.reduce((sum, [, entries]) => sum + entries, 0),
        ending: hours.map(([hour, entries]) => ({
          before: hour === HOUR_UNKNOWN ? null : endOfHour(hour),
          tokens: entries,
        })),
      },
    },
  };
}

/** `GET /revocations/{name}` */
export async function getRevocation(admin: StoreSide, request: AdminRequest): Promise<AdminAnswer> {
  const name = request.params["name"] ?? "";
  const { kv } = name.includes("/") ? { kv: undefined } : await admin.store.get(`${rulesDir(admin.prefix)}${name}`);
  const rule = kv && decodeRule(kv.value);
  return rule === undefined || typeof rule === "string" ? KEY_NOT_FOUND : { status: 200, body: shownEntry(name, rule) };
}

function shownEntry(name: string, rule: RevocationRule): object {
  return { name, ...shownRule(rule), kept_until: rule.until, time: Math.floor(rule.writtenMs / 1_000) };
}

/**
 * `POST /revocations/check`: whether a token is revoked, and by what. Its signature is not looked at.
 * The consumer is the one that jwt-auth finds by the claim `key`, or the one that the body names.
 */
export async function checkRevocation(admin: AdminContext, request: AdminRequest): Promise<AdminAnswer> {
  const read = readEntries(request.bytes);
  if ("status" in read) return read;
  const [entry] = read.entries;
  if (read.isList) return refuse(400, "one entry is expected: token, or issuer with jti");
  const { consumer, ...named } = (typeof entry === "object" && entry !== null ? entry : {}) as Members;
  const wanted = readWanted(named, timesOf(admin));
  if (typeof wanted === "string") return refuse(400, wanted);
  if ("rule" in wanted) return refuse(400, "token, or issuer with jti, is expected");
  if (consumer !== undefined && typeof consumer !== "string") return refuse(400, "consumer should be a text");
  const text = named["token"];
  const parsed = typeof text === "string" ? parseToken(text) : undefined;
  if (typeof text !== "string" || !parsed) {
    const [token] = wanted.tokens;
    const isThere = token !== undefined && (await isStored(admin, token.hour, [token.fingerprint]));
    return { status: 200, body: isThere ? BY_ITSELF : { revoked: false } };
  }
  const { payload } = parsed;
  if (await isStored(admin, hourOf(payload["exp"]), fingerprintsOf(text, payload))) {
    return { status: 200, body: BY_ITSELF };
  }
  const name = consumer ?? (await consumerOf(admin, payload));
  const rule = await strictestOf(admin, rulesFor(payload, keyIdOf(text), name), payload["iat"]);
  return { status: 200, body: rule ? { revoked: true, by: shownRule(rule) } : { revoked: false } };
}

const BY_ITSELF = { revoked: true, by: { type: "token" } };

type Covering = Pick<RevocationRule, "type" | "value" | "issuer">;

/** What could cover a token. Clients are those of own issuers, of which the admin knows none. */
function rulesFor({ iss, sub }: Claims, keyId: string | undefined, consumer: string | undefined): readonly Covering[] {
  const covering: Covering[] = consumer === undefined ? [] : [{ type: "consumer", value: consumer }];
  if (typeof iss !== "string") return covering;
  covering.push({ type: "issuer", value: iss });
  if (typeof sub === "string") covering.push({ type: "subject", value: sub, issuer: iss });
  if (keyId !== undefined) covering.push({ type: "kid", value: keyId, issuer: iss });
  return covering;
}

async function strictestOf(
  admin: StoreSide,
  covering: readonly Covering[],
  iat: unknown,
): Promise<RevocationRule | undefined> {
  const reads = await Promise.all(covering.map((one) => admin.store.get(`${rulesDir(admin.prefix)}${ruleName(one)}`)));
  const rules = reads.flatMap(({ kv }) => (kv ? [decodeRule(kv.value)] : []));
  const strictness = ({ issuedBefore = Number.MAX_VALUE }: RevocationRule): number => issuedBefore;
  return rules
    .filter((rule): rule is RevocationRule => typeof rule !== "string")
    .filter((rule) => typeof iat !== "number" || !(iat >= strictness(rule)))
    .sort((a, b) => strictness(b) - strictness(a))[0];
}

/** The consumer that jwt-auth finds by the claim `key`. */
async function consumerOf(admin: ReadSide, { key }: Claims): Promise<string | undefined> {
  if (typeof key !== "string") return undefined;
  for (const digest of admin.codec.digests(key)) {
    const { kv } = await admin.store.get(uniqueKey(admin.prefix, "jwt-auth", digest));
    const owners: unknown = kv ? JSON.parse(kv.value.toString("utf8")) : [];
    const [owner] = Array.isArray(owners) ? owners : [];
    if (typeof owner === "string") return owner.split(credentialId("", ""))[0];
  }
  return undefined;
}

function keyIdOf(text: string): string | undefined {
  // True: the parser has read it.
  const header = JSON.parse(Buffer.from(text.slice(0, text.indexOf(".")), "base64url").toString("utf8")) as Members;
  return typeof header["kid"] === "string" ? header["kid"] : undefined;
}

function wholeIn(text: string | undefined, otherwise: number): number | undefined {
  if (text === undefined) return otherwise;
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}
