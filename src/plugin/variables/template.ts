/**
 * Texts with variables in them, compiled once: `$name`, `${name}`, `${name ?? default}`; `\$` stays as written.
 * What comes out may hold anything a client sent: `escapes` makes values fit the place they stand in (url-places.ts,
 * text-places.ts), and texts for headers go through `safeHeaderValue`.
 * Source: docs/spec/plugins.md section 8; APISIX 3.18's resolve_var.
 */
import { type Clock, systemClock } from "../../base/clock.ts";
import type { RequestView } from "../request-view.ts";
import { needsBody } from "./body-variables.ts";
import { compileVariable, type Variable, type VariableValue } from "./variables.ts";

export interface Template {
  (view: RequestView): string;
  /** Names of the variables in it, in order. */
  readonly names: readonly string[];
  /** Whether `loadBodyVariables` must have run. */
  readonly needsBody: boolean;
  /** Whether any of its variables has a value or a default for this request. */
  resolves(view: RequestView): boolean;
}

/** Makes a value fit the place it stands in. */
export type Escape = (value: string, view: RequestView) => string;

/** A fixed text or a variable. */
export type TemplatePart = string | { readonly name: string; readonly fallback: string };

export interface TemplateOptions {
  /** Applied to the value of each variable, not to the fixed parts. */
  readonly escape?: Escape;
  /** Makes one for each part, by where it stands; in place of `escape`. */
  readonly escapes?: (parts: readonly TemplatePart[]) => readonly (Escape | undefined)[];
  readonly clock?: Clock;
  /** Names that mean something only here, such as numbered captures; asked first. */
  readonly local?: (name: string) => Variable | undefined;
}

/** An absent variable without a default gives nothing. Cost: one read per variable; none for a fixed text. */
export function compileTemplate(text: string | readonly TemplatePart[], options: TemplateOptions = {}): Template {
  const parts = typeof text === "string" ? parseTemplate(text) : text;
  const names = parts.flatMap((part) => (typeof part === "string" ? [] : [part.name]));
  const clock = options.clock ?? systemClock;
  const readerOf = (part: Part): Variable => options.local?.(part.name) ?? compileVariable(part.name, clock);
  const escapes = options.escapes?.(parts);
  const pieces = parts.map((part, at) => {
    if (typeof part === "string") return part;
    return compilePart(part, readerOf(part), escapes ? escapes[at] : options.escape);
  });
  const readers = parts.flatMap((part) => (typeof part === "string" ? [] : [readerOf(part)]));
  const alwaysResolves = parts.some((part) => typeof part !== "string" && part.fallback !== "");
  return Object.assign(joinPieces(pieces), {
    names: Object.freeze(names),
    needsBody: names.some(needsBody),
    resolves: (view: RequestView): boolean => alwaysResolves || readers.some((read) => read(view) !== undefined),
  });
}

/** Whether a text holds a variable at all. */
export function isTemplate(text: string): boolean {
  return parseTemplate(text).some((part) => typeof part !== "string");
}

/** A variable's value as text; lists are joined by ", ". */
export function valueText(value: VariableValue): string {
  if (typeof value === "string") return value;
  if (value === undefined) return "";
  return typeof value === "object" ? value.join(", ") : String(value);
}

/**
 * A text as it may stand in a header value, blanks around it removed.
 * @returns undefined when it has CR, LF, NUL, another control character but tab, or a character beyond latin1
 */
export function safeHeaderValue(text: string): string | undefined {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return undefined;
  }
  return text.trim();
}

type Part = Exclude<TemplatePart, string>;

/** Fixed texts and variables in their order. */
export function parseTemplate(text: string): readonly TemplatePart[] {
  const parts: TemplatePart[] = [];
  let from = 0;
  for (const match of text.matchAll(/(?<!\\)\$(?:\{\s*([^}]+?)\s*\}|(post_arg\.[\w.]+|\w+))/g)) {
    if (match.index > from) parts.push(text.slice(from, match.index));
    from = match.index + match[0].length;
    const [name = "", fallback = ""] = (match[1] ?? match[2] ?? "").split(/\s*\?\?\s*/, 2);
    parts.push({ name, fallback });
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

function compilePart(part: Part, read: Variable, escaped: Escape | undefined): (view: RequestView) => string {
  return (view) => {
    const value = read(view);
    const shown = value === undefined ? part.fallback : valueText(value);
    return escaped === undefined ? shown : escaped(shown, view);
  };
}

type Piece = string | ((view: RequestView) => string);

function joinPieces(pieces: readonly Piece[]): (view: RequestView) => string {
  const [only] = pieces;
  if (pieces.length === 0) return () => "";
  if (pieces.length === 1 && only !== undefined) return typeof only === "string" ? () => only : (view) => only(view);
  return (view) => {
    let text = "";
    for (const piece of pieces) text += typeof piece === "string" ? piece : piece(view);
    return text;
  };
}
