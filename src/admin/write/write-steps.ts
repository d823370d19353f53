/**
 * What must hold for a record that is to be stored, as a list in the order in which it is asked. Writes, dry runs and
 * rollbacks run this very list.
 * Promise: what a step has found true is part of the plan, so it is still true when the plan is committed, or nothing is.
 * Source: docs/spec/admin-api.md section 5.
 */
import type { Members } from "../../base/json/members.ts";
import { keyOf } from "../../model/keys.ts";
import type { Kind } from "../../model/kinds.ts";
import type { LeaseId } from "../../store/store.ts";
import type { RecordChange, WriteSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { planKeys, planKeysGone } from "../keys/key-steps.ts";
import { readStored } from "../read/stored-record.ts";
import { referenceGuardKey } from "../store-paths.ts";
import { contentError, shapeError } from "./candidate-check.ts";
import { refuseWrite } from "./refusal-hint.ts";
import { planGlobalRule, planIssuer, planPluginGroups } from "./spanning-rules.ts";
import type { Plan } from "./write-plan.ts";

export interface Candidate extends RecordChange {
  readonly candidate: Members;
  /** What ends the record, made when it is first asked for; undefined for one that stays. */
  readonly lease?: () => Promise<LeaseId | undefined>;
}

/** Why the record is not stored, in words or as a whole answer. */
export type StepRefusal = string | AdminAnswer;

type Step = (
  side: WriteSide,
  record: Candidate,
  plan: Plan,
) => StepRefusal | undefined | Promise<StepRefusal | undefined>;

/** What comes first, before anything is planned: the record's schema and what belongs to it. @param id as keys have it */
export function shapeRefused(side: WriteSide, kind: Kind, id: string, value: Members): string | undefined {
  // A plugin's own metadata schema knows no id.
  return shapeError(checkEnv(side), kind, id, kind.id === "plugin" ? withoutId(value) : value);
}

const STEPS: readonly Step[] = [
  /** What it refers to exists. */
  ({ references }, { kind, id, candidate, previousValue }, plan) =>
    references.planWrite(plan, kind, id, candidate, previousValue),
  /** Its plugins and expressions are sound, and no node would refuse it. */
  (side, { kind, candidate }) => contentError(checkEnv(side), kind, candidate),
  /** No other global rule has its plugins. */
  planGlobalRule,
  /** No other record has its issuers. */
  planIssuer,
  /** An authorization server has keys to sign with, and a key has its server. */
  planKeys,
  /** What counts together is configured alike. */
  planPluginGroups,
  /** A credential has its consumer. */
  planConsumer,
  /** Nobody else is known by its keys. */
  async ({ unique }, { kind, id, candidate, previousValue, lease }, plan) => {
    if (kind.pluginSide !== "consumer") return undefined;
    return unique.plan(plan, { kind: kind.name, id }, candidate, previousValue, await lease?.());
  },
];

/** @returns what the first step that does not hold says */
export async function planSteps(side: WriteSide, record: Candidate, plan: Plan): Promise<StepRefusal | undefined> {
  for (const step of STEPS) {
    const refused = await step(side, record, plan);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/** What goes with a record that goes. */
const GOING: readonly ((side: WriteSide, record: RecordChange, plan: Plan) => unknown)[] = [
  /** The keys of an authorization server. */
  (side, { kind, id }, plan) => (kind.name === "authorization_server" ? planKeysGone(side, plan, id) : undefined),
  /** What a caller is known by. */
  ({ unique }, { kind, id, previousValue }, plan) =>
    kind.pluginSide === "consumer" ? unique.plan(plan, { kind: kind.name, id }, undefined, previousValue) : undefined,
];

/** The record goes, as it was read, and what goes with it: for deletions, dry runs of them, and rollbacks. */
export async function planGone(side: WriteSide, record: RecordChange, plan: Plan): Promise<void> {
  plan.expect(record.key, record.previous?.modRevision ?? 0n).delete(record.key);
  for (const step of GOING) await step(side, record, plan);
}

export function toAnswer(side: WriteSide, { kind, id, candidate }: Candidate, refused: StepRefusal): AdminAnswer {
  return typeof refused === "string" ? refuseWrite(side, kind, id, candidate, refused) : refused;
}

async function planConsumer(
  side: WriteSide,
  { kind, id, previous }: Candidate,
  plan: Plan,
): Promise<StepRefusal | undefined> {
  if (kind.name !== "credential") return undefined;
  const consumer = id.slice(0, id.indexOf("/"));
  const key = keyOf(side.prefix, "consumer", consumer);
  if (!(await readStored(side.store, key))) return refuse(404, "consumer not found");
  plan.require(key);
  if (!previous) plan.put(referenceGuardKey(side.prefix, "consumer", consumer), id);
  return undefined;
}

export function checkEnv({ catalog, codec }: Pick<WriteSide, "catalog" | "codec">) {
  return { catalog, openKey: codec.openKey };
}

function withoutId({ id: _, ...rest }: Members): Members {
  return rest;
}
