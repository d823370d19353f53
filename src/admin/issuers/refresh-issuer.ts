/**
 * `POST /token_issuers/{id}/refresh`: nodes fetch the keys of a record when it comes, so the record comes again as it is.
 * Promise: nothing of the record changes, its times and lifetime included; no entry in the history; `?wait=all` waits until
 * every node has heard of it (it fetches within 2 s then).
 */
import { keyOf } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import type { TokenIssuer } from "../../model/token-issuer.ts";
import { fetchAddresses } from "../../model/token-issuer-check.ts";
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { toStored } from "../read/stored-record.ts";
import { commit } from "../write/commit.ts";
import { preconditionRefusal } from "../write/write-options.ts";
import { Plan } from "../write/write-plan.ts";
import { NO_SUCH_ISSUER } from "./issuer-status.ts";

const ATTEMPTS = 10;

export async function refreshIssuer(admin: AdminContext, request: AdminRequest): Promise<AdminAnswer> {
  const key = keyOf(admin.prefix, KINDS.token_issuer.name, request.params["id"] ?? "");
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const { kv } = await admin.store.get(key);
    const stored = kv && toStored(kv);
    if (!kv || !stored?.value) return refuse(404, NO_SUCH_ISSUER);
    const stale = preconditionRefusal(request.options, stored);
    if (stale) return stale;
    if (fetchAddresses(stored.value as unknown as TokenIssuer).length === 0)
      return refuse(400, `the keys of ${key} are fixed, nothing is fetched: write the record to change them`);
    const lease = (kv.lease ?? 0n) === 0n ? undefined : kv.lease;
    const plan = new Plan().expect(key, kv.modRevision).put(key, kv.value, lease);
    if (request.options.dryRun) return { status: 200, body: { dry_run: true, key } };
    const evidence = { key, before: kv.modRevision, after: kv.value };
    const done = await commit(admin.store, admin.clock, plan, evidence, request.ask);
    if (done.kind === "conflict") continue;
    return { status: 200, body: { key }, revision: done.revision, asked: done.asked };
  }
  return refuse(503, "value changed before overwritten");
}
