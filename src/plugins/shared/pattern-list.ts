/**
 * Lists of regular expressions from configuration, tested as one.
 * Linear in the input whatever the patterns say (base/regex.ts).
 */
import { compilePattern, type PatternOptions, patternError } from "../../base/regex.ts";

/** @returns why the first bad pattern is bad */
export function patternListError(sources: readonly string[], options?: PatternOptions): string | undefined {
  for (const source of sources) {
    const error = patternError(source, options);
    if (error !== undefined) return error;
  }
  return undefined;
}

/**
 * Checks the text that stands for a match: `$1`, `${1}` and `$$` mean something, any other "$" is a mistake.
 * @returns why it is none, in APISIX's words
 */
export function replacementError(template: string): string | undefined {
  return /\$(?!\$|\d|\{\d+\})/.test(template.replaceAll("$$", ""))
    ? `invalid capturing variable name found in "${template}"`
    : undefined;
}

/** Whether any of the patterns is found in a text. Throws CONFIG_INVALID for a bad one. */
export function compileAnyPattern(sources: readonly string[], options?: PatternOptions): (text: string) => boolean {
  const patterns = sources.map((source) => compilePattern(source, options));
  return (text) => {
    for (const pattern of patterns) if (pattern.test(text)) return true;
    return false;
  };
}
