/**
 * Which store this is, and the operator's word that it is the right one after it was restored to an older state.
 * Source: etcd.md section 6 "Another store".
 */
import { isGatewayError, messageOf } from "../base/errors.ts";
import { parseIdentity, raiseEpoch } from "../store/identity.ts";
import { type AdminAnswer, refuse } from "./answer.ts";
import type { AdminRequest, Engine } from "./engine.ts";
import { storeIdentityKey } from "./places.ts";
import { Plan } from "./plan.ts";

/** `GET /store` */
export async function describeStore(engine: Engine): Promise<AdminAnswer> {
  const { kv, revision } = await engine.store.get(storeIdentityKey(engine.prefix));
  const identity = parseIdentity(kv?.value);
  if (!identity) return refuse(404, "the store has no identity yet");
  return { status: 200, body: { ...identity, revision: Number(revision) } };
}

/** `POST /store/epoch`: nodes that refuse this store as another one take it from now on. */
export async function raiseStoreEpoch(engine: Engine, request: AdminRequest): Promise<AdminAnswer> {
  if (request.options.dryRun) return showRaise(engine);
  try {
    const entry = new Plan();
    engine.history.plan(engine, entry, request, []);
    const identity = await raiseEpoch(engine.store, engine.prefix, entry.operations);
    const { kv } = await engine.store.get(storeIdentityKey(engine.prefix));
    return { status: 200, body: identity, ...(kv && { revision: kv.modRevision }) };
  } catch (error) {
    if (isGatewayError(error, "RECORD_INVALID")) return refuse(404, messageOf(error));
    throw error;
  }
}

async function showRaise(engine: Engine): Promise<AdminAnswer> {
  const key = storeIdentityKey(engine.prefix);
  const identity = parseIdentity((await engine.store.get(key)).kv?.value);
  if (!identity) return refuse(404, "the store has no identity yet");
  const diff = [{ op: "replace", path: "/epoch", from: identity.epoch, to: identity.epoch + 1 }];
  return {
    status: 200,
    body: { dry_run: true, status: 200, changes: [{ key, change: "updated", diff }], warnings: [] },
  };
}
