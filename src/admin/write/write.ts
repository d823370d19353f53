/**
 * PUT, POST and PATCH of any kind of record, by compare-and-swap.
 * Promise: what is answered with 2xx is committed, was checked as a whole, and points to records that exist.
 * Source: docs/spec/admin-api.md sections 4 and 5.
 */
import { sleep } from "../../base/clock.ts";
import { isMembers, type Members } from "../../base/json/members.ts";
import { luaType } from "../../base/schema/lua-values.ts";
import { keyOf } from "../../model/keys.ts";
import type { WriteMethod } from "../../model/kinds.ts";
import type { AdminRequest, StoreSide, WriteSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { readStored } from "../read/stored-record.ts";
import { type ResourceTarget, recordId } from "../request-target.ts";
import { generatorKey } from "../store-paths.ts";
import { forbiddenTime } from "./candidate-check.ts";
import { Draft, makeOut, openValue } from "./draft.ts";
import { mayComeBack, putBack } from "./put-back.ts";
import { generatedId, identityOfPut, postNamesId, type RecordIdentity } from "./record-identity.ts";
import { refuseShape, refuseWrite } from "./refusal-hint.ts";
import { commitWrite } from "./write-commit.ts";
import { preconditionRefusal } from "./write-options.ts";
import { Plan } from "./write-plan.ts";
import { shapeRefused } from "./write-steps.ts";

/** A parsed body: `undefined` when there was none. */
export type Body = { readonly value: unknown } | undefined;

const PUT_ATTEMPTS = 50; // other processes may write the same key; each round one of them gets through
const RETRY_MS = 20;

export async function putRecord(
  admin: WriteSide,
  request: AdminRequest,
  target: ResourceTarget,
  body: Body,
): Promise<AdminAnswer> {
  const given = objectOf(target, body);
  if ("status" in given) return given;
  const identity = identityOfPut(target, given.value);
  if ("status" in identity) return identity;
  return writeWhole(admin, request, target, "PUT", identity, given.value);
}

export async function postRecord(
  admin: WriteSide,
  request: AdminRequest,
  target: ResourceTarget,
  body: Body,
): Promise<AdminAnswer> {
  const given = objectOf(target, body);
  if ("status" in given) return given;
  const named = postNamesId(target, given.value);
  if (named) return named;
  // Checked before an id is made, so that refused bodies do not move the generator.
  const wrong = earlyError(admin, target, "1", given.value);
  if (wrong) return wrong;
  const id = request.options.dryRun ? "0".repeat(20) : await freshId(admin, target);
  return writeWhole(admin, request, target, "POST", { id, stored: id }, given.value);
}

/** A store that was restored counts revisions anew: an id of theirs may be taken. */
async function freshId(admin: StoreSide, target: ResourceTarget): Promise<string> {
  for (;;) {
    const id = generatedId(await nextRevision(admin));
    const { kv } = await admin.store.get(keyOf(admin.prefix, target.kind.name, recordId(target, id)));
    if (!kv) return id;
  }
}

async function nextRevision(admin: StoreSide): Promise<bigint> {
  const plan = new Plan().put(generatorKey(admin.prefix), "1");
  return (await admin.store.txn(plan.toTxn())).revision;
}

function objectOf(target: ResourceTarget, body: Body): { readonly value: Members } | AdminAnswer {
  if (!body) return refuse(400, "missing configurations");
  const { value } = body;
  if (Array.isArray(value) && value.length === 0) return { value: {} };
  if (isMembers(value)) return { value: value as Members };
  return refuseShape(luaType(value), target.kind, recordId(target, target.localId ?? ""));
}

function earlyError(admin: WriteSide, target: ResourceTarget, id: string, body: Members): AdminAnswer | undefined {
  const error = forbiddenTime(body) ?? shapeRefused(admin, target.kind, id, body);
  if (error !== undefined) return refuseWrite(admin, target.kind, id, body, error);
  if (target.kind.id !== "username" || target.localId === undefined || target.localId === id) return undefined;
  return refuse(400, "wrong username");
}

async function writeWhole(
  admin: WriteSide,
  request: AdminRequest,
  target: ResourceTarget,
  method: WriteMethod,
  identity: RecordIdentity,
  body: Members,
): Promise<AdminAnswer> {
  const { kind } = target;
  const key = keyOf(admin.prefix, kind.name, identity.id);
  const sent = kind.storesId && identity.stored !== undefined ? { ...body, id: identity.stored } : body;
  const now = mayComeBack(kind, sent) ? await readStored(admin.store, key) : undefined;
  const early = putBack(admin, kind, sent, openValue(admin, kind, identity.id, now));
  const wrong = earlyError(admin, target, identity.id, early);
  if (wrong) return wrong;
  return admin.queue.run(key, async () => {
    for (let attempt = 1; ; attempt++) {
      const draft = new Draft({ request, target, method, id: identity.id, key, value: sent });
      const refused = await makeOut(admin, draft);
      if (refused) return refused;
      const result = await commitWrite(admin, { ...draft.written(), method, ttlSeconds: ttlOf(request) });
      if (result !== "conflict") return result;
      if (attempt >= PUT_ATTEMPTS) return refuse(503, "value changed before overwritten");
      await sleep(admin.clock, RETRY_MS * Math.random());
    }
  });
}

export async function patchRecord(
  admin: WriteSide,
  request: AdminRequest,
  target: ResourceTarget,
  body: Body,
): Promise<AdminAnswer> {
  const { kind, subPath } = target;
  if (target.localId === undefined)
    return refuse(400, kind.name === "secret" ? "no secret id" : `missing ${kind.message} id`);
  if (!body) return refuse(400, "missing new configuration");
  if (subPath === "" && (typeof body.value !== "object" || body.value === null))
    return refuse(400, "invalid configuration");
  const id = recordId(target, target.localId);
  const key = keyOf(admin.prefix, kind.name, id);
  return admin.queue.run(key, async () => {
    const draft = new Draft({ request, target, method: "PATCH", id, key, patch: body.value });
    const refused = await makeOut(admin, draft);
    if (refused) return refused;
    const result = await commitWrite(admin, { ...draft.written(), method: "PATCH", ttlSeconds: ttlOf(request) });
    if (result !== "conflict") return result;
    // Somebody was faster: with If-Match that is what the client wanted to know.
    const overtaken = preconditionRefusal(request.options, await readStored(admin.store, key));
    return overtaken ?? refuse(503, "value changed before overwritten");
  });
}

function ttlOf(request: AdminRequest): number | undefined {
  const text = request.args.get("ttl");
  return text === undefined ? undefined : Math.max(1, Math.ceil(Number(text)));
}
