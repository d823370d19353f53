/**
 * Edits of header lists that configurations describe: add, then set, then remove; values are templates.
 * Promise: what variables bring stays within the URL, quoted text or cookie it stands in; no value with CR, LF or other control characters is ever written: a set that would do so removes the header.
 */
import type { HeaderList } from "../../plugin/headers.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import {
  compileTemplate,
  safeHeaderValue,
  type Template,
  type TemplateOptions,
  type TemplatePart,
} from "../../plugin/variables/template.ts";
import { escapesInHeader } from "../../plugin/variables/text-places.ts";

export type HeaderText = string | number;

export interface HeaderEdits {
  /** [name, value] pairs. */
  readonly add?: readonly (readonly [string, HeaderText])[];
  readonly set?: readonly (readonly [string, HeaderText | readonly HeaderText[]])[];
  readonly remove?: readonly string[];
}

interface EditOptions extends TemplateOptions {
  /** True for requests: an empty value is not sent at all, as nginx does it. */
  readonly dropEmpty?: boolean;
}

export type EditHeaders = (view: RequestView, headers: HeaderList) => void;

interface Edit {
  readonly kind: "add" | "set";
  readonly name: string;
  readonly lower: string;
  readonly values: readonly Template[];
  /** A message has it at most once: what is added takes the place of what is there. */
  readonly once: boolean;
}

export function compileHeaderEdits(edits: HeaderEdits, options: EditOptions = {}): EditHeaders {
  const steps: Edit[] = [];
  const step = (kind: Edit["kind"], name: string, values: readonly HeaderText[]): void => {
    if (!isHeaderName(name)) return; // schemas allow more than a header's name can be
    const lower = name.toLowerCase();
    const placed = { ...options, escapes: (parts: readonly TemplatePart[]) => escapesInHeader(lower, parts) };
    const templates = values.map((value) => compileTemplate(String(value), placed));
    steps.push({ kind, name, lower, values: templates, once: SINGLE.has(lower) });
  };
  for (const [name, value] of edits.add ?? []) step("add", name, [value]);
  for (const [name, value] of edits.set ?? []) step("set", name, typeof value === "object" ? value : [value]);
  const remove = (edits.remove ?? []).map((name) => name.toLowerCase());
  const dropEmpty = options.dropEmpty === true;
  return (view, headers) => {
    for (const one of steps) runEdit(one, view, headers, dropEmpty);
    for (const lower of remove) {
      // The gateway writes these itself unless a line of that name is there; an empty one is not sent.
      if (dropEmpty && WRITTEN_LATER.has(lower)) headers.set(lower, "");
      else headers.remove(lower);
    }
  };
}

/** Headers of which several would mean nothing; as in APISIX, of several values the last one stands. */
const SINGLE: ReadonlySet<string> = new Set([
  "content-range",
  "content-type",
  "date",
  "etag",
  "expires",
  "last-modified",
  "location",
  "retry-after",
  "server",
]);

const WRITTEN_LATER: ReadonlySet<string> = new Set(["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"]);

function runEdit(edit: Edit, view: RequestView, headers: HeaderList, dropEmpty: boolean): void {
  let isFirst = edit.kind === "set";
  for (const template of edit.values) {
    const value = safeHeaderValue(template(view));
    if (value === undefined || (dropEmpty && value === "")) continue;
    if (isFirst || edit.once) headers.set(edit.name, value);
    else headers.append(edit.name, value);
    isFirst = false;
  }
  // Nothing could be written: what stood there before must not pass for the configured value.
  if (isFirst) headers.remove(edit.lower);
}

/** Whether a text can be the name of a header (RFC 9110 section 5.6.2). */
export function isHeaderName(name: string): boolean {
  return TOKEN.test(name);
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** @returns why a name or value cannot be a header's, in APISIX's words */
export function headerError(name: string, value: unknown): string | undefined {
  if (name === "") return "invalid field length in header";
  if (!isHeaderName(name)) return "invalid field character in header";
  if (typeof value !== "string" && typeof value !== "number") return "invalid type as header value";
  return safeHeaderValue(String(value)) === undefined ? "invalid value character in header" : undefined;
}

/** Whether a `headers` member is of the newer form: an object of add, set, remove. */
export function hasEditForm(headers: object): boolean {
  return Object.entries(headers).some(
    ([name, value]) => EDITS.has(name) && typeof value === "object" && value !== null,
  );
}

const EDITS = new Set(["add", "set", "remove"]);

/**
 * Header names that only the gateway may send upstream on a route: what a client sends under them is removed, in every
 * spelling that a back end may read as the same (`X_User`, `x.user` for `X-User`).
 */

type RemoveSpellings = (headers: HeaderList) => void;

/** As CGI-like back ends read it: letters and digits, everything else alike. */
export function foldHeaderName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "-");
}

/** @returns undefined where there is nothing to remove */
export function compileRemoval(names: readonly string[]): RemoveSpellings | undefined {
  if (names.length === 0) return undefined;
  const folded = new Set(names.map(foldHeaderName));
  const lengths = new Set(names.map((name) => name.length));
  const drop = (lower: string): boolean => folded.has(foldHeaderName(lower));
  return (headers) => {
    const { lines } = headers;
    for (let i = 0; i < lines.length; i += 2) {
      const name = lines[i] as string;
      if (!lengths.has(name.length) || !drop(name)) continue;
      headers.removeWhere((lower) => lengths.has(lower.length) && drop(lower));
      return;
    }
  };
}

/** Headers that whoever sends a message makes himself, or that say something of one connection. */
export const FRAMING_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "transfer-encoding",
  "host",
  "expect",
  "upgrade",
  "te",
]);
