/**
 * The answer to a dry run: what would change, and what is suspicious about it.
 * Promise: everything a real write would refuse has been refused before; nothing is written.
 */
import type { Members } from "../../base/json/members.ts";
import { checkTxn } from "../../store/store-limits.ts";
import type { ReadSide, RecordChange, RuleSide } from "../admin-context.ts";
import type { AdminAnswer } from "../admin-response.ts";
import { masked } from "../read/masking.ts";
import type { Plan } from "../write/write-plan.ts";
import { type ConfigView, openConfigView } from "./config-view.ts";
import { type DiffEntry, diffOf, type Side } from "./diff.ts";
import { secretWarnings } from "./warn-secret.ts";
import { warningsOf } from "./warnings.ts";

interface ShownChange {
  readonly key: string;
  readonly change: "created" | "updated" | "deleted" | "unchanged";
  readonly diff: readonly DiffEntry[];
}

/**
 * @param status what the write would be answered with
 * @param more   members of that answer which are known, so that a client reads one shape
 * @throws CodedError STORE_TOO_LARGE as the write would
 */
export async function showPlan(
  admin: ReadSide,
  plan: Plan,
  changes: readonly RecordChange[],
  status: number,
  more: Members = {},
): Promise<AdminAnswer> {
  checkTxn(plan.toTxn());
  const before: ConfigView = openConfigView(admin, []);
  const after = openConfigView(admin, changes, before);
  const warnings = [
    ...(await warningsOf(admin, changes, before, after)),
    ...(await secretWarnings(admin, changes, after)),
  ];
  return {
    status: 200,
    body: { dry_run: true, status, changes: changes.map((one) => shownChange(admin, one)), warnings, ...more },
  };
}

/** A change as clients may see it, secrets masked. */
export function shownChange(admin: RuleSide, change: RecordChange): ShownChange {
  const { key, kind, previous, previousValue, candidate } = change;
  const side = (value: Members | undefined): Side | undefined =>
    value && { plain: value, shown: masked(admin.catalog, kind, value) };
  const diff = diffOf(side(previousValue), side(candidate));
  if (!previous) return { key, change: "created", diff };
  if (!candidate) return { key, change: "deleted", diff };
  return { key, change: diff.length === 0 ? "unchanged" : "updated", diff };
}
