/**
 * A write before anything is planned: from what was sent to what is to be stored, as a list of steps in the order in which
 * they are taken, for PUT, POST, PATCH and DELETE alike. What must then hold is the list of write-steps.ts.
 * Source: docs/spec/admin-api.md sections 4 and 5.
 */
import { type Members, own } from "../../base/json/members.ts";
import type { Kind, WriteMethod } from "../../model/kinds.ts";
import { mergePatch, patchAt } from "../../model/patch.ts";
import type { AdminRequest, RuleSide, Write, WriteSide } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "../admin-response.ts";
import { completeKey } from "../keys/key-steps.ts";
import { readStored, type StoredMembers } from "../read/stored-record.ts";
import type { ResourceTarget } from "../request-target.ts";
import { prepareConsumer } from "./candidate-check.ts";
import { maskError, putBack } from "./put-back.ts";
import { refuseWrite } from "./refusal-hint.ts";
import { preconditionRefusal } from "./write-options.ts";
import { Plan } from "./write-plan.ts";
import { shapeRefused } from "./write-steps.ts";

type DraftMethod = WriteMethod | "DELETE";

interface DraftInput {
  readonly request: AdminRequest;
  readonly target: ResourceTarget;
  readonly method: DraftMethod;
  /** As keys have it. */
  readonly id: string;
  readonly key: string;
  /** What was sent as a whole record. */
  readonly value?: Members;
  /** What was sent as a change of one. */
  readonly patch?: unknown;
}

export class Draft {
  readonly input: DraftInput;
  readonly plan = new Plan();
  /** Deletions: who still points to it, in the words that refuse them. */
  used: string | undefined;
  previous: StoredMembers | undefined;
  /** Opened. */
  previousValue: Members | undefined;
  /** What is to be stored, as far as it is made out. */
  value: Members;
  /** What was made for it, to be shown once. */
  generated: Readonly<Record<string, string>> | undefined;
  doubts: readonly string[] = [];

  constructor(input: DraftInput) {
    this.input = input;
    this.value = input.value ?? {};
  }

  /** What changes, once it is made out. */
  written(): Omit<Write, "method" | "ttlSeconds"> {
    const { previous, previousValue, value: candidate, generated, doubts } = this;
    const { request, target, id, key } = this.input;
    return {
      ...{ request, kind: target.kind, id, key, previous, previousValue, candidate },
      ...(generated !== undefined && { generated }),
      ...(doubts.length > 0 && { doubts }),
    };
  }
}

interface DraftStep {
  readonly of: readonly DraftMethod[];
  /** @returns why there is nothing to write */
  readonly step: (side: WriteSide, draft: Draft) => AdminAnswer | undefined | Promise<AdminAnswer | undefined>;
}

const ALL: readonly DraftMethod[] = ["PUT", "POST", "PATCH", "DELETE"];
const STORED: readonly DraftMethod[] = ["PUT", "POST", "PATCH"];
const WHOLE: readonly DraftMethod[] = ["PUT", "POST"];
const CHANGE: readonly DraftMethod[] = ["PATCH"];

const STEPS: readonly DraftStep[] = [
  /** Nothing refers to it: asked also when there is no such record, as APISIX does. */
  { of: ["DELETE"], step: isUnused },
  { of: ALL, step: readPrevious },
  { of: ["PATCH", "DELETE"], step: (_, { previous }) => (previous ? undefined : KEY_NOT_FOUND) },
  { of: ALL, step: openPrevious },
  { of: CHANGE, step: applyPatch },
  { of: CHANGE, step: keepsItsName },
  /** What GET shows may come back: it stands for what is stored. */
  { of: STORED, step: takeBack },
  { of: STORED, step: isUnmasked },
  /** Credentials are completed and hashed. */
  { of: WHOLE, step: completeConsumer },
  { of: WHOLE, step: completeSigningKey },
  { of: STORED, step: openGiven },
  { of: WHOLE, step: stampTimes },
  { of: CHANGE, step: stampId },
  /** Of a whole record that was looked at before it came here. */
  { of: CHANGE, step: hasShape },
];

/** @returns what the first step says that ends the write; else the draft is made out */
export async function makeOut(side: WriteSide, draft: Draft): Promise<AdminAnswer | undefined> {
  for (const { of, step } of STEPS) {
    const refused = of.includes(draft.input.method) ? await step(side, draft) : undefined;
    if (refused !== undefined) return refused;
  }
  return undefined;
}

export function openValue(
  admin: RuleSide,
  kind: Kind,
  id: string,
  stored: StoredMembers | undefined,
): Members | undefined {
  return stored?.value && admin.codec.open(kind, id, stored.value);
}

async function isUnused(side: WriteSide, draft: Draft): Promise<AdminAnswer | undefined> {
  const { request, target, id } = draft.input;
  draft.used = await side.references.planDelete(draft.plan, target.kind, id);
  return draft.used === undefined || request.args.get("force") === "true" ? undefined : refuse(400, draft.used);
}

async function readPrevious(side: WriteSide, draft: Draft): Promise<AdminAnswer | undefined> {
  draft.previous = await readStored(side.store, draft.input.key);
  return preconditionRefusal(draft.input.request.options, draft.previous);
}

function openPrevious(side: WriteSide, draft: Draft): undefined {
  draft.previousValue = openValue(side, draft.input.target.kind, draft.input.id, draft.previous);
}

function applyPatch(side: WriteSide, draft: Draft): AdminAnswer | undefined {
  const { previousValue: previous, input } = draft;
  if (!previous) return refuse(400, "invalid configuration: the stored value is not an object");
  const now = nowSeconds(side);
  const stamp = (value: Members, update: unknown): undefined => {
    draft.value = { ...value, create_time: own(value, "create_time") ?? now, update_time: update ?? now };
  };
  if (input.target.subPath === "") {
    const members = input.patch as Members; // an object or array: who made the draft has looked
    return stamp(mergePatch(previous, members), own(members, "update_time"));
  }
  const result = patchAt(previous, input.target.subPath, input.patch);
  return result.ok ? stamp(result.value as Members, undefined) : refuse(400, result.error);
}

function keepsItsName(_: WriteSide, { value, input: { target, id } }: Draft): AdminAnswer | undefined {
  const { kind, localId } = target;
  const named = own(value, "id") ?? undefined;
  if (!kind.storesId || named === undefined || String(named) === (kind.id === "manager" ? id : localId))
    return undefined;
  return refuse(400, `wrong ${kind.message} id`);
}

function takeBack(side: WriteSide, draft: Draft): undefined {
  const { value, previousValue, input } = draft;
  const meant = putBack(side, input.target.kind, value, previousValue);
  const { create_time, update_time } = value;
  draft.value = input.method === "PATCH" ? { ...meant, create_time, update_time } : meant;
}

function isUnmasked(side: WriteSide, { value, previousValue, input }: Draft): AdminAnswer | undefined {
  const error = maskError(side, input.target.kind, value, previousValue);
  return error === undefined ? undefined : refuse(400, error);
}

function completeConsumer(side: WriteSide, draft: Draft): AdminAnswer | undefined {
  const { value, previousValue, input } = draft;
  const prepared = prepareConsumer(side.catalog, input.target.kind, value, previousValue, nowSeconds(side));
  if (typeof prepared === "string") return refuse(400, prepared);
  draft.value = prepared.value;
  draft.generated = prepared.generated;
  draft.doubts = prepared.doubts;
  return undefined;
}

async function completeSigningKey(side: WriteSide, draft: Draft): Promise<undefined> {
  const { target, id } = draft.input;
  if (target.kind.name === "signing_key") draft.value = await completeKey(side, id, draft.value, draft.previousValue);
}

function openGiven(side: WriteSide, draft: Draft): AdminAnswer | undefined {
  const { target, id } = draft.input;
  const given = side.codec.openGiven(target.kind, id, draft.value, draft.previous?.value);
  if ("error" in given) return refuse(400, given.error);
  draft.value = given.value;
  return undefined;
}

function stampTimes(side: WriteSide, draft: Draft): undefined {
  if (!draft.input.target.kind.timed) return;
  const now = nowSeconds(side);
  const created = own(draft.previousValue, "create_time") ?? now;
  draft.value = { ...draft.value, create_time: created, update_time: now };
}

function stampId(_: WriteSide, draft: Draft): undefined {
  const { target, id } = draft.input;
  if (target.kind.storesId) draft.value = { ...draft.value, id };
}

function hasShape(side: WriteSide, { value, input: { target, id } }: Draft): AdminAnswer | undefined {
  const error = shapeRefused(side, target.kind, id, value);
  return error === undefined ? undefined : refuseWrite(side, target.kind, id, value, error);
}

function nowSeconds({ clock }: WriteSide): number {
  return Math.floor(clock.nowMs() / 1_000);
}
