/**
 * DELETE of any kind of record: users first, then the record, its index entries and, for consumers, its credentials.
 * Source: docs/spec/admin-api.md sections 5.5 and 5.9.
 */
import { sleep } from "../../base/clock.ts";
import { isCodedError } from "../../base/errors.ts";
import { credentialsOf, keyOf, parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import { prefixRange } from "../../store/store.ts";
import type { AdminRequest, ReadSide, RecordChange, WriteSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { showPlan } from "../preview/dry-run.ts";
import type { Warning } from "../preview/warnings.ts";
import { toStored } from "../read/stored-record.ts";
import { type ResourceTarget, recordId } from "../request-target.ts";
import { referenceGuardKey } from "../store-paths.ts";
import { type Commit, commit } from "./commit.ts";
import { Draft, makeOut } from "./draft.ts";
import { warningHeader } from "./write-commit.ts";
import { Plan } from "./write-plan.ts";
import { planGone } from "./write-steps.ts";

const ATTEMPTS = 50;
const RETRY_MS = 20;

export async function deleteRecord(
  admin: WriteSide,
  request: AdminRequest,
  target: ResourceTarget,
): Promise<AdminAnswer> {
  const { kind, localId } = target;
  if (localId === undefined) return refuse(400, `missing ${kind.message} id`);
  const id = recordId(target, localId);
  const key = keyOf(admin.prefix, kind.name, id);
  return admin.queue.run(key, async () => {
    for (let attempt = 1; ; attempt++) {
      const result = await deleteOnce(admin, request, target, id, key);
      if (result !== "conflict") return result;
      if (attempt >= ATTEMPTS) return refuse(503, "value changed before overwritten");
      await sleep(admin.clock, RETRY_MS * Math.random());
    }
  });
}

async function deleteOnce(
  admin: WriteSide,
  request: AdminRequest,
  target: ResourceTarget,
  id: string,
  key: string,
): Promise<AdminAnswer | "conflict"> {
  const { kind } = target;
  const draft = new Draft({ request, target, method: "DELETE", id, key });
  const refused = await makeOut(admin, draft);
  if (refused) return refused;
  const { plan, previous, previousValue, used } = draft;
  const change: RecordChange = { kind, id, key, previous, previousValue, candidate: undefined };
  await planGone(admin, change, plan);
  if (request.options.dryRun) {
    const credentials = kind.name === "consumer" ? await credentialChanges(admin, id) : [];
    return showPlan(admin, plan, [...credentials, change], 200, { key });
  }
  if (kind.name === "consumer" && !(await deleteCredentials(admin, request, plan, id))) return "conflict";
  const done = await commitDeletion(admin, request, plan, change);
  if (done.kind === "conflict") return "conflict";
  admin.history.written(admin);
  const headers = used === undefined ? {} : warningHeader([danglingBy(key, used)]);
  return { status: 200, body: { deleted: "1", key }, headers, revision: done.revision, asked: done.asked };
}

/** @param used who still points to it, in the words that refuse a deletion */
function danglingBy(key: string, used: string): Warning {
  return { code: "dangling_reference", key, message: `was deleted by force; else: ${used}` };
}

/** A store that is full refuses whatever needs room: the deletion then goes without its entry in the history. */
async function commitDeletion(
  admin: WriteSide,
  request: AdminRequest,
  plan: Plan,
  change: RecordChange,
): Promise<Commit> {
  const { key, previous } = change;
  const evidence = { key, before: previous?.modRevision ?? 0n, after: undefined };
  admin.history.plan(admin, plan, request, [change]);
  try {
    return await commit(admin.store, admin.clock, plan, evidence, request.ask);
  } catch (error) {
    if (!isCodedError(error, "STORE_FULL")) throw error;
    admin.log.warn({ key }, "the store is full: deleted without an entry in the history");
    return commit(admin.store, admin.clock, plan.deletionsOnly(), evidence, undefined);
  }
}

/**
 * Credentials go first, one transaction each with its index entries: there may be any number of them.
 * Should this process die in between, the consumer is still there and the deletion can be repeated.
 */
async function deleteCredentials(
  admin: WriteSide,
  request: AdminRequest,
  plan: Plan,
  consumer: string,
): Promise<boolean> {
  const guard = referenceGuardKey(admin.prefix, "consumer", consumer);
  const { kv: before } = await admin.store.get(guard); // a credential that comes after this makes the plan fail
  plan.expect(guard, before?.modRevision ?? 0n);
  if (before) plan.delete(guard);
  for await (const credentials of credentialsIn(admin, consumer)) {
    for (const one of credentials) if (!(await deleteCredential(admin, request, one))) return false;
  }
  return true;
}

/** What goes with a consumer. */
async function credentialChanges(admin: ReadSide, consumer: string): Promise<RecordChange[]> {
  const changes: RecordChange[] = [];
  for await (const credentials of credentialsIn(admin, consumer)) changes.push(...credentials);
  return changes;
}

/** Page by page, each as its deletion. */
async function* credentialsIn(admin: ReadSide, consumer: string): AsyncGenerator<RecordChange[], void> {
  const kind = KINDS.credential;
  for await (const page of admin.store.list(prefixRange(credentialsOf(admin.prefix, consumer)))) {
    yield page.kvs.map((kv) => {
      const id = parseKey(admin.prefix, kv.key)?.id ?? "";
      const previous = toStored(kv);
      const previousValue = previous.value && admin.codec.open(kind, id, previous.value);
      return { kind, id, key: kv.key, previous, previousValue, candidate: undefined };
    });
  }
}

async function deleteCredential(admin: WriteSide, request: AdminRequest, change: RecordChange): Promise<boolean> {
  const plan = new Plan();
  await planGone(admin, change, plan);
  // Nodes are asked once, with the consumer.
  const done = await commitDeletion(admin, { ...request, ask: undefined }, plan, change);
  if (done.kind === "done") admin.history.written(admin);
  return done.kind === "done";
}
