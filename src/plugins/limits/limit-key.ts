/**
 * What a limit counts by: a variable, a text of several, or a constant. A key without any value is the client's address.
 * Promise: no key is longer than KEY_CHARS, whatever a client sends; a longer one counts by its hash.
 * Source: docs/spec/plugins.md section 6.
 */
import { createHash } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileTemplate, type Escape, type TemplatePart, valueText } from "../../plugin/variables/template.ts";
import { compileVariable } from "../../plugin/variables/variables.ts";

const KEY_CHARS = 256; // counters remember tens of thousands of keys

interface LimitKey {
  readonly key: string;
  readonly keyType: "var" | "var_combination" | "constant";
}

type KeyOf = (view: RequestView) => string;

export function compileLimitKey({ key, keyType }: LimitKey, clock: Clock): KeyOf {
  if (keyType === "constant") return () => key;
  if (keyType === "var") {
    const read = compileVariable(key, clock);
    return (view) => {
      const value = read(view);
      return value === undefined ? view.clientAddress : boundedKey(valueText(value));
    };
  }
  const keyOf = compileRuleKey(key, clock);
  return (view) => keyOf(view) ?? view.clientAddress;
}

/** The key of one of several rules: undefined when no variable in it has a value, and the rule does not apply. */
export function compileRuleKey(key: string, clock: Clock): (view: RequestView) => string | undefined {
  const template = compileTemplate(separate(key), { clock, escapes: escapesInKey });
  return (view) => (template.resolves(view) ? boundedKey(template(view)) : undefined);
}

/** Two variables side by side would leave open where one ends. */
function separate(key: string): string {
  return key.replace(/(\$(?:\w+|\{[^}]*\}))(?=\$)/g, "$1 ");
}

/** In a key of several variables none can bring what stands between them: nobody counts as somebody else. */
function escapesInKey(parts: readonly TemplatePart[]): readonly (Escape | undefined)[] {
  if (parts.filter((part) => typeof part !== "string").length < 2) return [];
  const between = new Set(parts.filter((part) => typeof part === "string").join(""));
  const inKey = (value: string): string =>
    value.replace(/\W/gu, (char) =>
      char === "%" || between.has(char) ? `%${char.codePointAt(0)?.toString(16)};` : char,
    );
  return parts.map((part) => (typeof part === "string" ? undefined : inKey));
}

function boundedKey(key: string): string {
  return key.length <= KEY_CHARS ? key : `sha256:${createHash("sha256").update(key).digest("base64url")}`;
}

/**
 * A number that may be a template. @param least 0 or 1
 * @returns undefined where the template gives no whole number from `least` on: a client must not switch a limit off so
 */
export function compileNumber(
  value: number | string,
  least: number,
  clock: Clock,
): (view: RequestView) => number | undefined {
  if (typeof value === "number") return () => value;
  const template = compileTemplate(value, { clock });
  return (view) => {
    const text = template(view);
    const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    return Number.isSafeInteger(number) && number >= least ? number : undefined;
  };
}
