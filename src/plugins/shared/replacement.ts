/**
 * What stands for a match of a pattern: a text with `$1`, `${1}`, `$0`, `$&` and `$$` in it, its captures escaped for the
 * places of a URL they stand in. Source: base/regex.ts `replace`, which knows no places.
 */
import type { PatternMatch } from "../../base/regex.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { Escape, TemplatePart } from "../../plugin/variables/template.ts";

/** Fixed texts, and captures as variables whose name is their number. */
export function parseReplacement(template: string): readonly TemplatePart[] {
  const parts: TemplatePart[] = [];
  let fixed = "";
  let from = 0;
  for (const match of template.matchAll(/\$(?:\$|&|(\d{1,2})|\{(\d{1,2})\})/g)) {
    fixed += template.slice(from, match.index);
    from = match.index + match[0].length;
    if (match[0] === "$$") {
      fixed += "$";
      continue;
    }
    if (fixed !== "") parts.push(fixed);
    fixed = "";
    parts.push({ name: match[0] === "$&" ? "0" : (match[1] ?? match[2] ?? "0"), fallback: "" });
  }
  fixed += template.slice(from);
  return fixed === "" ? parts : [...parts, fixed];
}

/** @param escapes one for each part; without them captures stay as they are */
export function fillReplacement(
  parts: readonly TemplatePart[],
  { groups }: PatternMatch,
  view: RequestView,
  escapes: readonly (Escape | undefined)[] = [],
): string {
  let made = "";
  for (const [at, part] of parts.entries()) {
    const value = typeof part === "string" ? part : (groups[Number(part.name)] ?? "");
    made += escapes[at]?.(value, view) ?? value;
  }
  return made;
}
