/**
 * `POST /history/{revision}/rollback`: puts the configuration back to what it was right after that write.
 * Promise: all of it in one transaction or nothing; what is restored was checked as a whole, as any write; it is itself an
 * entry of the history.
 */
import { sleep } from "../../base/clock.ts";
import { isCodedError, messageOf } from "../../base/errors.ts";
import { credentialsOf } from "../../model/keys.ts";
import { prefixRange } from "../../store/store.ts";
import type { AdminRequest, RecordChange, StoreSide, WriteSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { showPlan } from "../preview/dry-run.ts";
import { warningsOfAnswer } from "../preview/warnings.ts";
import { historyGuardKey, referenceGuardKey } from "../store-paths.ts";
import { commit } from "../write/commit.ts";
import { openReferenceGuard } from "../write/reference-guard.ts";
import { openUniqueIndex } from "../write/unique-index.ts";
import { warningHeader } from "../write/write-commit.ts";
import { Plan } from "../write/write-plan.ts";
import { type Candidate, planGone, planSteps, shapeRefused } from "../write/write-steps.ts";
import { noEntry } from "./history-read.ts";
import { overlayStore } from "./overlay-store.ts";
import { type Reconstruction, reconstruct } from "./restore-points.ts";

const ATTEMPTS = 5;
const RETRY_MS = 50;

export async function rollBack(admin: WriteSide, request: AdminRequest): Promise<AdminAnswer> {
  for (let attempt = 1; ; attempt++) {
    const result = await rollBackOnce(admin, request);
    if (result !== "conflict") return result;
    if (attempt >= ATTEMPTS) return refuse(503, "the configuration keeps changing while it is rolled back");
    await sleep(admin.clock, RETRY_MS * attempt * Math.random());
  }
}

async function rollBackOnce(admin: WriteSide, request: AdminRequest): Promise<AdminAnswer | "conflict"> {
  const revision = request.params["revision"] ?? "";
  const guard = historyGuardKey(admin.prefix);
  const { kv: newest } = await admin.store.get(guard); // before the history is read: later writes make the plan fail
  const then = await reconstruct(admin, revision, request.args.get("key"));
  if (then === undefined) return noEntry(revision);
  if ("refusal" in then) return then.refusal;
  const plan = new Plan("last").expect(guard, newest?.modRevision ?? 0n);
  for (const { change, sealed } of then.records) {
    plan.expect(change.key, change.previous?.modRevision ?? 0n);
    if (sealed) plan.put(change.key, sealed);
    else plan.delete(change.key);
  }
  const changes = then.records.map(({ change }) => change);
  const errors = await checkTogether(admin, plan, changes);
  if (errors.length > 0) {
    return refuse(400, `the configuration of revision ${revision} cannot be restored`, { errors });
  }
  return finish(admin, request, plan, changes, then, revision);
}

interface Finding {
  readonly key: string;
  readonly error: string;
}

/** Every record by the rules of a write, in a store where all of them are already as they will be. */
async function checkTogether(admin: WriteSide, plan: Plan, changes: readonly RecordChange[]): Promise<Finding[]> {
  const store = overlayStore(admin.store, plan);
  const view: WriteSide = {
    ...admin,
    store,
    references: openReferenceGuard(store, admin.prefix),
    unique: openUniqueIndex(store, admin.prefix, admin.catalog, admin.codec),
  };
  const findings: Finding[] = [];
  for (const change of changes) {
    const error = await checkOne(view, plan, change);
    if (error !== undefined) findings.push({ key: change.key, error });
  }
  return findings;
}

async function checkOne(view: WriteSide, plan: Plan, change: RecordChange): Promise<string | undefined> {
  const { kind, id, candidate } = change;
  if (!candidate) {
    const used = await view.references.planDelete(plan, kind, id);
    if (used !== undefined) return used;
    const without = kind.name === "consumer" ? await planNoCredentials(view, plan, id) : undefined;
    if (without === undefined) await planGone(view, change, plan);
    return without;
  }
  const record: Candidate = { ...change, candidate };
  const refused = shapeRefused(view, kind, id, candidate) ?? (await planSteps(view, record, plan));
  if (refused === undefined || typeof refused === "string") return refused;
  return (refused.body as { readonly error_msg?: string }).error_msg ?? "refused";
}

/** A consumer does not go while credentials stay, or come. */
async function planNoCredentials(view: StoreSide, plan: Plan, consumer: string): Promise<string | undefined> {
  const guard = referenceGuardKey(view.prefix, "consumer", consumer);
  const { kv } = await view.store.get(guard);
  plan.expect(guard, kv?.modRevision ?? 0n);
  for await (const page of view.store.list(prefixRange(credentialsOf(view.prefix, consumer)))) {
    const [first] = page.kvs;
    if (first) return `${first.key} would be left without its consumer`;
  }
  return undefined;
}

async function finish(
  admin: WriteSide,
  request: AdminRequest,
  plan: Plan,
  changes: readonly RecordChange[],
  { warnings }: Reconstruction,
  revision: string,
): Promise<AdminAnswer | "conflict"> {
  try {
    plan.toTxn();
  } catch (error) {
    if (!isCodedError(error, "STORE_TOO_LARGE")) throw error;
    const advice = "roll back to a later revision first, or one record at a time with ?key=";
    return refuse(
      400,
      `going back to revision ${revision} changes ${changes.length} records: ${messageOf(error)}; ${advice}`,
    );
  }
  if (request.options.dryRun) {
    const shown = await showPlan(admin, plan, changes, 200, { rolled_back_to: Number(revision) });
    const body = shown.body as { readonly warnings: readonly unknown[] };
    return { ...shown, body: { ...body, warnings: [...warnings, ...body.warnings] } };
  }
  const restored = changes.map(({ key, previous, candidate }) => {
    if (!candidate) return { key, change: "deleted" };
    return { key, change: previous ? "updated" : "created" };
  });
  const allWarnings: { code: string; key: string; message: string }[] = [...warnings];
  for (const change of changes) allWarnings.push(...(await warningsOfAnswer(admin, change)));
  const body = { rolled_back_to: Number(revision), changes: restored, warnings };
  const [first] = changes;
  if (!first) return { status: 200, body };
  admin.history.plan(admin, plan, request, changes);
  const written = plan.get(first.key);
  const after = written?.op === "put" ? written.value : undefined;
  const before = first.previous?.modRevision ?? 0n;
  const done = await commit(admin.store, admin.clock, plan, { key: first.key, before, after }, request.ask);
  if (done.kind === "conflict") return "conflict";
  admin.history.written(admin);
  return {
    status: 200,
    body: { ...body, revision: Number(done.revision) },
    headers: warningHeader(allWarnings),
    revision: done.revision,
    asked: done.asked,
  };
}
