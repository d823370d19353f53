/**
 * Which store this is, and the operator's word that it is the right one after it was restored to an older state.
 * Source: docs/spec/etcd.md section 6 "Another store".
 */
import { isCodedError, messageOf } from "../base/errors.ts";
import { parseIdentity, raisedOf, raiseEpoch } from "../store/store-identity.ts";
import type { AdminRequest, StoreSide, WriteSide } from "./admin-context.ts";
import { type AdminAnswer, refuse } from "./admin-response.ts";
import { storeIdentityKey } from "./store-paths.ts";
import { Plan } from "./write/write-plan.ts";

/** `GET /store` */
export async function describeStore(admin: StoreSide): Promise<AdminAnswer> {
  const { kv, revision } = await admin.store.get(storeIdentityKey(admin.prefix));
  const identity = parseIdentity(kv?.value);
  if (!identity) return refuse(404, "the store has no identity yet");
  return { status: 200, body: { ...identity, revision: Number(revision) } };
}

const STORE_ID = /^[0-9A-Za-z-]{1,64}$/;

/**
 * `POST /store/epoch`: nodes that refuse this store as an older state of theirs take it from now on; with
 * `?replaces=ID` those as well that hold records of the store with that id, which is gone.
 */
export async function raiseStoreEpoch(admin: WriteSide, request: AdminRequest): Promise<AdminAnswer> {
  const replaces = request.args.get("replaces");
  if (replaces !== undefined && !STORE_ID.test(replaces))
    return refuse(400, "invalid argument replaces: expected the id of a store");
  if (request.options.dryRun) return showRaise(admin, replaces);
  try {
    const entry = new Plan();
    admin.history.plan(admin, entry, request, []);
    const identity = await raiseEpoch(admin.store, admin.prefix, entry.operations, replaces);
    const { kv } = await admin.store.get(storeIdentityKey(admin.prefix));
    return { status: 200, body: identity, ...(kv && { revision: kv.modRevision }) };
  } catch (error) {
    if (isCodedError(error, "RECORD_INVALID")) return refuse(404, messageOf(error));
    throw error;
  }
}

async function showRaise(admin: StoreSide, replaces: string | undefined): Promise<AdminAnswer> {
  const key = storeIdentityKey(admin.prefix);
  const identity = parseIdentity((await admin.store.get(key)).kv?.value);
  if (!identity) return refuse(404, "the store has no identity yet");
  const raised = raisedOf(identity, replaces);
  const diff = [
    { op: "replace", path: "/epoch", from: identity.epoch, to: raised.epoch },
    ...(replaces === undefined
      ? []
      : [{ op: "replace", path: "/replaces", from: identity.replaces, to: raised.replaces }]),
  ];
  return {
    status: 200,
    body: { dry_run: true, status: 200, changes: [{ key, change: "updated", diff }], warnings: [], ...raised },
  };
}
