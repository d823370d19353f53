/**
 * Values in templates and what Lua says of them: how they are compared, added and shown.
 */
import { CodedError } from "../../base/errors.ts";
import type { RequestView } from "../../plugin/request-view.ts";

/** JSON as it was parsed; undefined and null are both nil. Members are looked up as own ones only. */
export type TemplateValue = unknown;

/** What a template is rendered with. */
export interface TemplateScope {
  readonly data: Readonly<Record<string, TemplateValue>>;
  readonly body: string | undefined;
  readonly view: RequestView;
  /** Variables of loops, the innermost last. */
  readonly locals: { readonly name: string; value: TemplateValue }[];
  /** Steps that are left. */
  steps: number;
}

export type Evaluate = (scope: TemplateScope) => TemplateValue;

/** What a template asks of a body that has it not. */
export function renderError(message: string): CodedError {
  return new CodedError("PLUGIN_FAILED", { message });
}

/** Only nil and false are not. */
export function isTrue(value: TemplateValue): boolean {
  return value !== undefined && value !== null && value !== false;
}

/** A member, or with a number an item, the first being 1. */
export function memberOf(value: TemplateValue, key: TemplateValue): TemplateValue {
  if (Array.isArray(value)) return value[Number(key) - 1];
  if (typeof value !== "object" || value === null)
    throw renderError(`attempt to index ${kindOf(value)} with '${String(key)}'`);
  const name = String(key);
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

/** As it is put into a text. */
export function textOf(value: TemplateValue): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "object") throw renderError("a table is no text: use _escape_json, or name a member");
  return typeof value === "number" ? numberText(value) : String(value);
}

/** JSON of it; bodies are read deeper than this can be written. */
export function jsonOf(value: TemplateValue): string {
  try {
    return JSON.stringify(value ?? null);
  } catch {
    throw renderError("_escape_json: it is nested too deep");
  }
}

/** Numbers, and texts that are some. */
export function numberOf(value: TemplateValue): number {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number !== "number" || Number.isNaN(number))
    throw renderError(`attempt to calculate with ${kindOf(value)}`);
  return number;
}

export function isLess(a: TemplateValue, b: TemplateValue): boolean {
  if (typeof a === "number" && typeof b === "number") return a < b;
  if (typeof a === "string" && typeof b === "string") return a < b;
  throw renderError(`attempt to compare ${kindOf(a)} with ${kindOf(b)}`);
}

export function isEqual(a: TemplateValue, b: TemplateValue): boolean {
  return (a ?? undefined) === (b ?? undefined);
}

export function lengthOf(value: TemplateValue): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  if (typeof value === "object" && value !== null) return Object.hasOwn(value, "1") ? 1 : 0;
  throw renderError(`attempt to get the length of ${kindOf(value)}`);
}

/** Lua's `%.14g`, but that integers keep all their digits. */
function numberText(value: number): string {
  return Number.isSafeInteger(value) ? String(value) : String(Number(value.toPrecision(14)));
}

function kindOf(value: TemplateValue): string {
  if (value === undefined || value === null) return "a nil value";
  return `a ${typeof value === "object" ? "table" : typeof value} value`;
}
