/**
 * The common end of PUT, POST and PATCH: plans by the list of steps, and commits, or shows what would happen.
 * Promise: what is answered with 2xx is committed, was checked as a whole, and points to records that exist.
 * Source: docs/spec/admin-api.md sections 4 and 5.
 */
import { isCodedError } from "../../base/errors.ts";
import type { LeaseId } from "../../store/store.ts";
import type { StoreSide, Write, WriteSide } from "../admin-context.ts";
import type { AdminAnswer } from "../admin-response.ts";
import { keysIn } from "../keys/key-store.ts";
import { showPlan } from "../preview/dry-run.ts";
import { type Warning, warningsOfAnswer } from "../preview/warnings.ts";
import { echoed, masked } from "../read/masking.ts";
import { commit } from "./commit.ts";
import { etagOf } from "./write-options.ts";
import { Plan } from "./write-plan.ts";
import { type Candidate, planSteps, toAnswer } from "./write-steps.ts";

/** "conflict": something changed after it was read, and nothing was written. */
export async function commitWrite(admin: WriteSide, write: Write): Promise<AdminAnswer | "conflict"> {
  const dry = write.request.options.dryRun;
  let granted: LeaseId | undefined;
  const lease = async (): Promise<LeaseId | undefined> => {
    if (!dry && write.ttlSeconds !== undefined) granted ??= await admin.store.grantLease(write.ttlSeconds);
    return granted;
  };
  const record: Candidate = { ...write, lease };
  const plan = new Plan().expect(write.key, write.previous?.modRevision ?? 0n);
  try {
    const refused = await planSteps(admin, record, plan);
    if (refused !== undefined) return await undo(admin, granted, toAnswer(admin, record, refused));
    const sealed = admin.codec.seal(write.kind, write.id, write.candidate);
    const bytes = Buffer.from(JSON.stringify(sealed), "utf8");
    plan.put(write.key, bytes, await lease());
    if (dry) {
      const shown = { key: write.key, value: masked(admin.catalog, write.kind, write.candidate) };
      return await showPlan(admin, plan, [write], successOf(write), shown);
    }
    const warnings = await warningsOfAnswer(admin, write);
    admin.history.plan(admin, plan, write.request, [write]);
    const before = write.previous?.modRevision ?? 0n;
    const evidence = { key: write.key, before, after: bytes };
    const done = await commit(admin.store, admin.clock, plan, evidence, write.request.ask);
    if (done.kind === "conflict") return await undo(admin, granted, "conflict");
    admin.history.written(admin);
    return {
      status: successOf(write),
      body: { key: write.key, value: echoed(admin, write.kind, sealed), ...madeBy(admin, write, plan) },
      headers: { ETag: etagOf(done.revision), ...warningHeader(warnings) },
      revision: done.revision,
      asked: done.asked,
    };
  } catch (thrown) {
    // With an unknown outcome the record may hold the lease; then only time may end it.
    if (!isCodedError(thrown, "STORE_OUTCOME_UNKNOWN")) await undo(admin, granted, undefined);
    throw thrown;
  }
}

/** What came into being beside the record: secrets that are shown once, and keys by their names. */
function madeBy(admin: StoreSide, { kind, generated = {} }: Write, plan: Plan): object {
  const keys = kind.name === "authorization_server" ? keysIn(admin.prefix, plan) : [];
  return {
    ...(Object.keys(generated).length > 0 && { generated }),
    ...(keys.length > 0 && { signing_keys: keys }),
  };
}

function successOf(write: Write): number {
  return write.method === "POST" || (write.method === "PUT" && !write.previous) ? 201 : 200;
}

/** Gives back a lease that nothing holds. It would end by itself, so a failure to do so is no failure. */
async function undo<T>(admin: StoreSide, lease: LeaseId | undefined, result: T): Promise<T> {
  if (lease !== undefined) await admin.store.revokeLease(lease).catch(() => undefined);
  return result;
}

/**
 * What a write warns of, as a header (RFC 7234 section 5.5), since tools compare the body with what APISIX answers.
 * Promise: bounded in number and length, and never a byte that a header must not hold, whatever a record is called.
 */

const WARNINGS_MAX = 8;
const TEXT_LENGTH_MAX = 300;

/** @param warnings of a dry run, or of a history that cannot bring back everything */
export function warningHeader(
  warnings: readonly (Pick<Warning, "key" | "message"> & { readonly code: string })[],
): Readonly<Record<string, string>> {
  if (warnings.length === 0) return {};
  const shown = warnings.slice(0, WARNINGS_MAX).map(({ code, key, message }) => quoted(`${code}: ${key} ${message}`));
  const more = warnings.length - shown.length;
  if (more > 0) shown.push(quoted(`more: ${more} further warnings, a dry run shows them`));
  return { Warning: shown.join(", ") };
}

/** As a quoted-string; what is no printable ASCII stands as escapes of its bytes. */
function quoted(text: string): string {
  const printable = text.replace(/[^ -~]+/gu, (others) =>
    [...Buffer.from(others, "utf8")].map((byte) => `%${byte.toString(16).padStart(2, "0").toUpperCase()}`).join(""),
  );
  const whole = printable.length > TEXT_LENGTH_MAX ? `${printable.slice(0, TEXT_LENGTH_MAX - 3)}...` : printable;
  return `299 - "${whole.replace(/["\\]/g, "\\$&")}"`;
}
