/**
 * Rotates signing keys: by time, which every admin does, and by hand, `POST /authorization_servers/{id}/rotate`; and ends
 * those that a revocation names.
 * Promise: whoever comes second finds its transaction refused and begins anew, so that two admins make one key; an admin
 * that is away stops no token. Source: docs/spec/tokens.md section 5.2.
 */
import { sleep, type Timer } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/errors.ts";
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm } from "../../base/jose/algorithms.ts";
import {
  type AuthorizationServer,
  authorizationServerError,
  termsOf,
} from "../../model/authorization-server-record.ts";
import {
  type RotationPlan,
  revokingThese,
  rotateInEmergency,
  rotateNow,
  rotationDue,
} from "../../model/key-rotation.ts";
import { dirOf, keyOf, parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import type { RevocationRule } from "../../model/revocation.ts";
import { prefixRange } from "../../store/store.ts";
import type { AdminContext, AdminRequest, ReadSide } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "../admin-response.ts";
import { warningsOfAnswer } from "../preview/warnings.ts";
import { readStored, toStored } from "../read/stored-record.ts";
import { signingKeysGuardKey } from "../store-paths.ts";
import { type Commit, commit } from "../write/commit.ts";
import { warningHeader } from "../write/write-commit.ts";
import { Plan } from "../write/write-plan.ts";
import { expectGuard, listKeys, planRotation, type StoredKey } from "./key-store.ts";

const EVERY_MS = 60_000;
const ATTEMPTS = 10;
const RETRY_MS = 50;

/** @returns the way to stop it; resolves when nothing is under way */
export function keepKeys(admin: ReadSide): () => Promise<void> {
  let running: Promise<void> | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  const plan = (): void => {
    timer = admin.clock.after(EVERY_MS * (0.5 + Math.random()), () => {
      running = rotateDue(admin)
        .catch((error) => admin.log.warn({ error: messageOf(error) }, "signing keys could not be rotated")) // next time
        .finally(() => {
          if (!stopped) plan();
        });
    });
  };
  plan();
  return async () => {
    stopped = true;
    timer?.cancel();
    await running;
  };
}

/** All that is due now, of every authorization server. */
async function rotateDue(admin: ReadSide): Promise<void> {
  for await (const page of admin.store.list(prefixRange(dirOf(admin.prefix, "authorization_server")))) {
    for (const kv of page.kvs) {
      const id = parseKey(admin.prefix, kv.key)?.id;
      const server = toStored(kv).value as unknown as AuthorizationServer | undefined;
      // What nodes refuse has no keys to rotate.
      if (id !== undefined && typeof server?.issuer === "string" && authorizationServerError(server) === undefined)
        await rotateServer(admin, id, server, kv.modRevision);
    }
  }
}

async function rotateServer(
  admin: ReadSide,
  id: string,
  server: AuthorizationServer,
  modRevision: bigint,
): Promise<void> {
  const terms = termsOf(server);
  const plan = new Plan().expect(keyOf(admin.prefix, "authorization_server", id), modRevision);
  await expectGuard(admin, plan, id);
  const keys = await listKeys(admin, id);
  const now = Math.floor(admin.clock.nowMs() / 1_000);
  let isDue = false;
  for (const algorithm of KEY_PAIR_ALGORITHMS) {
    const own = keys.filter((one) => one.algorithm === algorithm);
    if (own.length === 0 && !terms.algorithms.includes(algorithm)) continue;
    const due = rotationDue(algorithm, own, terms, now);
    // Algorithms that were given up get no further key.
    const wanted = terms.algorithms.includes(algorithm) ? due : { ...due, make: undefined, change: [] };
    if (wanted.make === undefined && wanted.change.length === 0 && wanted.remove.length === 0) continue;
    isDue = true;
    const made = await planRotation(admin, plan, id, wanted, own);
    if (made !== undefined) admin.log.info({ authorization_server: id, algorithm, kid: made }, "signing key made");
  }
  if (isDue) await admin.store.txn(plan.toTxn()); // refused when somebody was faster
}

/** By hand. @returns what the operator is told: no key, but their names and times */
export async function rotateByHand(admin: AdminContext, request: AdminRequest): Promise<AdminAnswer> {
  const emergency = request.args.get("emergency");
  if (emergency !== undefined && emergency !== "1" && emergency !== "0")
    return refuse(400, "invalid argument emergency: should be 0 or 1");
  for (let attempt = 1; ; attempt++) {
    const answer = await rotateOnce(admin, request, emergency === "1");
    if (answer !== "conflict") return answer;
    if (attempt >= ATTEMPTS) return refuse(503, "value changed before overwritten");
    await sleep(admin.clock, RETRY_MS * Math.random());
  }
}

async function rotateOnce(
  admin: AdminContext,
  request: AdminRequest,
  emergency: boolean,
): Promise<AdminAnswer | "conflict"> {
  const { id = "" } = request.params;
  const key = keyOf(admin.prefix, "authorization_server", id);
  const stored = await readStored(admin.store, key);
  if (!stored?.value) return KEY_NOT_FOUND;
  const terms = termsOf(stored.value as unknown as AuthorizationServer); // checked when it was written
  const algorithm = algorithmOf(request.args.get("algorithm"), terms.algorithms);
  if (algorithm === undefined)
    return refuse(400, `invalid argument algorithm: should be one of ${terms.algorithms.join(", ")}`);
  const plan = new Plan().expect(key, stored.modRevision);
  await expectGuard(admin, plan, id);
  const keys = (await listKeys(admin, id)).filter((one) => one.algorithm === algorithm);
  const now = Math.floor(admin.clock.nowMs() / 1_000);
  const rotation = (emergency ? rotateInEmergency : rotateNow)(algorithm, keys, terms, now);
  const made = await planRotation(admin, plan, id, rotation, keys);
  const body = bodyOf(rotation, made, keys, emergency);
  if (request.options.dryRun) {
    const next = rotation.make === undefined ? body.next : null; // its name is that of a key that is not made
    return { status: 200, body: { dry_run: true, status: 200, ...body, next } };
  }
  const { value: candidate } = stored;
  const server = { kind: KINDS.authorization_server, id, key, previous: stored, previousValue: candidate, candidate };
  const warnings = await warningsOfAnswer(admin, server);
  const done = await commitKeys(admin, request, plan, id);
  if (done.kind === "conflict") return "conflict";
  return { status: 200, body, headers: warningHeader(warnings), revision: done.revision, asked: done.asked };
}

/** @param plan writes the guard of the server `id` */
async function commitKeys(admin: AdminContext, request: AdminRequest, plan: Plan, id: string): Promise<Commit> {
  admin.history.plan(admin, plan, request, []);
  const guard = signingKeysGuardKey(admin.prefix, id);
  const operation = plan.get(guard);
  const { kv } = await admin.store.get(guard);
  const evidence = {
    ...{ key: guard, before: kv?.modRevision ?? 0n },
    after: operation?.op === "put" ? operation.value : undefined,
  };
  const done = await commit(admin.store, admin.clock, plan, evidence, request.ask);
  if (done.kind === "done") admin.history.written(admin);
  return done;
}

interface RevokedKey {
  readonly authorization_server: string;
  readonly kid: string;
  /** The key that was made to sign instead; null: another signs already. */
  readonly next: string | null;
}

/**
 * Keys of ours that a rule names are neither published nor verify anything from now on; where one of them signs, a new one
 * does at once. @throws CodedError STORE_UNAVAILABLE while others keep changing the same keys
 */
export async function revokeKeys(
  admin: AdminContext,
  request: AdminRequest,
  rules: readonly Pick<RevocationRule, "type" | "value" | "issuer">[],
): Promise<readonly RevokedKey[]> {
  const named = rules.filter(({ type }) => type === "kid");
  const revoked: RevokedKey[] = [];
  if (named.length === 0) return revoked;
  for await (const page of admin.store.list(prefixRange(dirOf(admin.prefix, "authorization_server")))) {
    for (const kv of page.kvs) {
      const server = toStored(kv).value as unknown as AuthorizationServer | undefined;
      const id = parseKey(admin.prefix, kv.key)?.id;
      if (id === undefined || server === undefined || authorizationServerError(server) !== undefined) continue;
      const kids = new Set(named.filter(({ issuer }) => issuer === server.issuer).map(({ value }) => value));
      if (kids.size > 0) revoked.push(...(await revokeSome(admin, { ...request, ask: undefined }, id, server, kids)));
    }
  }
  return revoked;
}

async function revokeSome(
  admin: AdminContext,
  request: AdminRequest,
  id: string,
  server: AuthorizationServer,
  kids: ReadonlySet<string>,
): Promise<readonly RevokedKey[]> {
  const terms = termsOf(server);
  for (let attempt = 1; ; attempt++) {
    const plan = new Plan();
    const revoked: RevokedKey[] = [];
    await expectGuard(admin, plan, id);
    const keys = await listKeys(admin, id);
    const now = Math.floor(admin.clock.nowMs() / 1_000);
    for (const algorithm of KEY_PAIR_ALGORITHMS) {
      const own = keys.filter((one) => one.algorithm === algorithm);
      const rotation = revokingThese(algorithm, own, kids, terms, now);
      if (rotation.change.length === 0) continue;
      const next = (await planRotation(admin, plan, id, rotation, own)) ?? null;
      revoked.push(...rotation.change.map(({ kid }) => ({ authorization_server: id, kid, next })));
    }
    if (revoked.length === 0 || (await commitKeys(admin, request, plan, id)).kind === "done") return revoked;
    if (attempt >= ATTEMPTS)
      throw new CodedError("STORE_UNAVAILABLE", { message: "others keep changing the same signing keys: try again" });
    await sleep(admin.clock, RETRY_MS * Math.random());
  }
}

function algorithmOf(text: string | undefined, known: readonly KeyPairAlgorithm[]): KeyPairAlgorithm | undefined {
  return text === undefined ? known[0] : known.find((one) => one === text);
}

interface RotatedBody {
  readonly algorithm: string;
  readonly next: string | null;
  readonly sign_from: number | null;
}

function bodyOf(
  rotation: RotationPlan,
  made: string | undefined,
  keys: readonly StoredKey[],
  emergency: boolean,
): RotatedBody & Readonly<Record<string, unknown>> {
  const { next, make, retiring, change } = rotation;
  const head = {
    algorithm: rotation.algorithm,
    next: made ?? next?.kid ?? null,
    sign_from: make?.signFrom ?? next?.signFrom ?? null,
  };
  if (emergency) return { ...head, revoked: change.map(({ kid }) => kid) };
  const ended = change.find(({ kid }) => kid === retiring?.kid) ?? keys.find(({ kid }) => kid === retiring?.kid);
  return { ...head, ...(ended && { retiring: ended.kid, verify_until: ended.verifyUntil ?? null }) };
}
