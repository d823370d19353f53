/**
 * `POST /revocations`: ends tokens before their time, one or up to 10,000 in a call; and takes rules back.
 * Promise: a list with a fault in it writes nothing; 2xx means that it is in the store, and with `?wait=all` that every
 * node refuses; a token is read here and goes nowhere.
 */
import { decodeRule, ruleName, rulesDir } from "../../model/revocation.ts";
import { Slice } from "../../store/store-follow.ts";
import { readJson } from "../admin-body.ts";
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "../admin-response.ts";
import { revokeKeys } from "../keys/rotate-keys.ts";
import { commit } from "../write/commit.ts";
import { Plan } from "../write/write-plan.ts";
import { readWanted, type Times, type WantedRule, type WantedToken } from "./revocation-body.ts";
import { shownRule } from "./revocation-ledger.ts";
import type { RevocationWritten } from "./revocation-writer.ts";
import { unknownTargets } from "./unknown-targets.ts";

const ENTRIES_MAX = 10_000;
/** Of a body: 10,000 tokens of 1.6 KB. */
export const REVOKE_BODY_BYTES_MAX = 16 * 1024 * 1024;

interface Wish {
  readonly entries: number;
  readonly tokens: readonly WantedToken[];
  readonly rules: readonly WantedRule[];
}

export async function revoke(admin: AdminContext, request: AdminRequest): Promise<AdminAnswer> {
  const read = readEntries(request.bytes);
  if ("status" in read) return read;
  const wish = await readWishes(admin, read.entries, read.isList);
  if (typeof wish === "string") return refuse(400, wish);
  const { revocations } = admin;
  const { tokens, rules } = wish;
  const most = revocations.maxTokens;
  if (tokens.length > 0 && (await revocations.ledger.total(admin)) + tokens.length > most) {
    return refuse(507, `${most} tokens are revoked already: revoke by consumer, client or issuer instead`);
  }
  const warnings = await unknownTargets(admin, read.entries, rules);
  const shown = rules.map((rule) => ({ name: ruleName(rule), ...shownRule({ ...rule, writtenMs: 0 }) }));
  const echo = { revoked: wish.entries, ...(shown.length > 0 && { rules: shown }) };
  if (request.options.dryRun) {
    return { status: 200, body: { dry_run: true, status: 200, ...echo, changes: [], warnings } };
  }
  const keys = await revokeKeys(admin, request, rules);
  let written: RevocationWritten | undefined;
  if (rules.length > 0) {
    const isLast = tokens.length === 0;
    written = await revocations.writer.writeRules(admin, isLast ? request : { ...request, ask: undefined }, rules);
  }
  if (tokens.length > 0) written = await revocations.writer.writeTokens(admin, request, tokens);
  if (!written) return refuse(400, NOTHING);
  admin.history.written(admin);
  const { revision, asked } = written;
  const ended = keys.length > 0 && { signing_keys: keys };
  const body = { ...echo, ...ended, revision: Number(revision), ...(warnings.length > 0 && { warnings }) };
  return { status: 200, body, revision, asked };
}

/** `DELETE /revocations/{name}`: a rule refuses nothing any more. What was revoked as a token stays so. */
export async function takeBack(admin: AdminContext, request: AdminRequest): Promise<AdminAnswer> {
  const name = request.params["name"] ?? "";
  const key = `${rulesDir(admin.prefix)}${name}`;
  const { kv } = name.includes("/") ? { kv: undefined } : await admin.store.get(key);
  if (!kv) return KEY_NOT_FOUND;
  const rule = decodeRule(kv.value);
  const body = { deleted: "1", key };
  if (request.options.dryRun) {
    return {
      status: 200,
      body: { dry_run: true, status: 200, changes: [{ key, change: "deleted", diff: [] }], warnings: [], key },
    };
  }
  const plan = new Plan().expect(key, kv.modRevision).delete(key);
  const rules = typeof rule === "string" ? [] : [rule];
  admin.revocations.ledger.planRules(admin, plan, request, { rules, takenBack: true });
  const evidence = { key, before: kv.modRevision, after: undefined };
  const done = await commit(admin.store, admin.clock, plan, evidence, request.ask);
  if (done.kind === "conflict") return refuse(503, "the rule changed while it was taken back: try again");
  admin.history.written(admin);
  return { status: 200, body, revision: done.revision, asked: done.asked };
}

const NOTHING = "nothing to revoke: expected an entry, or a list of entries";

/** The body's entries. Its text never goes into an answer: it holds tokens. */
export function readEntries(
  bytes: Buffer,
): { readonly entries: readonly unknown[]; readonly isList: boolean } | AdminAnswer {
  if (bytes.length === 0) return refuse(400, NOTHING);
  const parsed = readJson(bytes, true);
  if (!parsed.ok) return refuse(400, "invalid request body: it is no JSON, or names a member twice");
  const isList = Array.isArray(parsed.value);
  const entries: readonly unknown[] = Array.isArray(parsed.value) ? parsed.value : [parsed.value];
  if (entries.length === 0) return refuse(400, NOTHING);
  if (entries.length > ENTRIES_MAX) {
    return refuse(400, `${entries.length} entries in one call, at most ${ENTRIES_MAX} are possible`);
  }
  return { entries, isList };
}

/** @returns text: what is wrong with the first faulty entry */
async function readWishes(admin: AdminContext, entries: readonly unknown[], isList: boolean): Promise<Wish | string> {
  const times = timesOf(admin);
  const tokens: WantedToken[] = [];
  const rules: WantedRule[] = [];
  const slice = new Slice(admin.clock);
  for (const [i, entry] of entries.entries()) {
    const wanted = readWanted(entry, times);
    if (typeof wanted === "string") return isList ? `entry ${i + 1}: ${wanted}` : wanted;
    if ("rule" in wanted) rules.push(wanted.rule);
    else tokens.push(...wanted.tokens);
    if (slice.isOver()) await slice.yield();
  }
  return { entries: entries.length, tokens, rules };
}

export function timesOf({ clock, revocations }: AdminContext): Times {
  return { nowSeconds: Math.floor(clock.nowMs() / 1_000), keepSeconds: revocations.keepMs / 1_000 };
}
