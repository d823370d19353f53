/**
 * The common end of PUT, POST and PATCH: checks what needs the store, plans, and commits, or shows what would happen.
 * Promise: what is answered with 2xx is committed, was checked as a whole, and points to records that exist.
 * Source: docs/spec/admin-api.md sections 4 and 5.
 */
import { isGatewayError } from "../../base/errors.ts";
import { keyOf } from "../../model/keys.ts";
import type { LeaseId } from "../../store/store.ts";
import type { Engine, Write } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { showPlan } from "../preview/dry-run.ts";
import { warningsOfAnswer } from "../preview/warnings.ts";
import { echoed } from "../read/masking.ts";
import { type Members, readStored } from "../read/stored-record.ts";
import { pointedKey } from "../store-paths.ts";
import { contentError } from "./candidate-check.ts";
import { commit } from "./commit.ts";
import { refuseWrite } from "./error-hint.ts";
import { planGlobalRule } from "./global-rule-guard.ts";
import { planIssuer } from "./issuer-guard.ts";
import { planPluginGroups } from "./plugin-groups.ts";
import { warningHeader } from "./warning-header.ts";
import { etagOf } from "./write-options.ts";
import { Plan } from "./write-plan.ts";

/** "conflict": something changed after it was read, and nothing was written. */
export async function carryOut(engine: Engine, write: Write): Promise<AdminAnswer | "conflict"> {
  const candidate = write.candidate as Members; // writes that come here always have one
  const plan = new Plan().expect(write.key, write.previous?.modRevision ?? 0n);
  const refusal = await planChecks(engine, write, candidate, plan);
  if (refusal) return refusal;
  const dry = write.request.options.dryRun;
  const lease = dry ? undefined : await leaseFor(engine, write);
  try {
    const duplicate = await planUnique(engine, write, plan, lease);
    if (duplicate !== undefined) return await undo(engine, lease, refuse(400, duplicate));
    const sealed = engine.codec.seal(write.kind, write.id, candidate);
    const bytes = Buffer.from(JSON.stringify(sealed), "utf8");
    plan.put(write.key, bytes, lease);
    if (dry) return await showPlan(engine, plan, [write], successOf(write));
    const warnings = await warningsOfAnswer(engine, write);
    engine.history.plan(engine, plan, write.request, [write]);
    const before = write.previous?.modRevision ?? 0n;
    const evidence = { key: write.key, before, after: bytes };
    const done = await commit(engine.store, engine.clock, plan, evidence, write.request.ask);
    if (done.kind === "conflict") return await undo(engine, lease, "conflict");
    engine.history.written(engine);
    return {
      status: successOf(write),
      body: { key: write.key, value: echoed(engine, write.kind, sealed) },
      headers: { ETag: etagOf(done.revision), ...warningHeader(warnings) },
      revision: done.revision,
      asked: done.asked,
    };
  } catch (thrown) {
    // With an unknown outcome the record may hold the lease; then only time may end it.
    if (!isGatewayError(thrown, "STORE_OUTCOME_UNKNOWN")) await undo(engine, lease, undefined);
    throw thrown;
  }
}

function successOf(write: Write): number {
  return write.method === "POST" || (write.method === "PUT" && !write.previous) ? 201 : 200;
}

/** What must hold beside the record, now and when it is committed. */
export async function planChecks(
  engine: Engine,
  write: Write,
  candidate: Members,
  plan: Plan,
): Promise<AdminAnswer | undefined> {
  const { kind, id, key, previousValue } = write;
  const error =
    (await engine.pointing.planWrite(plan, kind, id, candidate, previousValue)) ??
    contentError(checkEnv(engine), kind, candidate) ??
    (kind.name === "global_rule"
      ? await planGlobalRule(engine.store, engine.prefix, plan, id, candidate)
      : undefined) ??
    (kind.name === "token_issuer" ? await planIssuer(engine.store, engine.prefix, plan, id, candidate) : undefined) ??
    (await planPluginGroups(engine, plan, key, candidate));
  return error === undefined ? planOwner(engine, write, plan) : refuseWrite(engine, kind, id, candidate, error);
}

/** A credential needs its consumer, now and when it is committed. */
async function planOwner(engine: Engine, write: Write, plan: Plan): Promise<AdminAnswer | undefined> {
  if (write.kind.name !== "credential") return undefined;
  const consumer = write.id.slice(0, write.id.indexOf("/"));
  const key = keyOf(engine.prefix, "consumer", consumer);
  if (!(await readStored(engine.store, key))) return refuse(404, "consumer not found");
  plan.require(key);
  if (!write.previous) plan.put(pointedKey(engine.prefix, "consumer", consumer), write.id);
  return undefined;
}

async function planUnique(
  engine: Engine,
  write: Write,
  plan: Plan,
  lease: LeaseId | undefined,
): Promise<string | undefined> {
  const { kind, id, candidate, previousValue } = write;
  if (kind.pluginSide !== "consumer") return undefined;
  return engine.unique.plan(plan, { kind: kind.name, id }, candidate, previousValue, lease);
}

async function leaseFor(engine: Engine, write: Write): Promise<LeaseId | undefined> {
  return write.ttlSeconds === undefined ? undefined : await engine.store.grantLease(write.ttlSeconds);
}

/** Gives back a lease that nothing holds. It would end by itself, so a failure to do so is no failure. */
async function undo<T>(engine: Engine, lease: LeaseId | undefined, result: T): Promise<T> {
  if (lease !== undefined) await engine.store.revokeLease(lease).catch(() => undefined);
  return result;
}

export function checkEnv(engine: Engine) {
  return { catalog: engine.catalog, openKey: engine.codec.openKey };
}
