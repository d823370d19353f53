/**
 * Regular expressions that users write (routes, vars, plugins), on an engine whose time is linear in the input (RE2).
 * Promise: no pattern and no input can stall the loop; what RE2 cannot do is refused when the pattern is compiled.
 * Source: docs/spec/routing.md section 7; the syntax is PCRE's as far as RE2 has it, common PCRE spellings are translated.
 */
import { LRUCache } from "lru-cache";
import { RE2JS } from "re2js";
import { CodedError, messageOf } from "./errors.ts";

export const PATTERN_LENGTH_MAX = 10_240; // characters of a pattern; longer ones are a mistake or an attack
const INPUT_LENGTH_MAX = 65_536; // characters looked at; what lies behind is not seen

const PROGRAM_SIZE_MAX = 2_500; // instructions; the cost per character grows with them, nested counts multiply
const COMPILED_MAX = 4_096; // patterns shared by text; those in use stay alive through their users

export interface PatternMatch {
  /** Where the match begins and ends, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  /** [0] is the whole match; a group that took no part is undefined. */
  readonly groups: readonly (string | undefined)[];
}

export interface Pattern {
  readonly source: string;
  readonly groupNames: Readonly<Record<string, number>>;
  /** Whether the pattern is found anywhere in the input. */
  test(input: string): boolean;
  exec(input: string): PatternMatch | undefined;
  /**
   * Replaces the first match (all of them with `all`). In the template `$1`, `${1}` are groups, `$0` and `$&` the whole
   * match, `$$` a dollar; groups that took no part are empty.
   */
  replace(input: string, template: string, all?: boolean): string;
}

export interface PatternOptions {
  readonly caseInsensitive?: boolean;
}

const compiled = new LRUCache<string, Pattern>({ max: COMPILED_MAX });

/** @throws CodedError CONFIG_INVALID that says what is wrong with the pattern */
export function compilePattern(source: string, options: PatternOptions = {}): Pattern {
  const key = `${options.caseInsensitive ? "i" : "s"}${source}`;
  let pattern = compiled.get(key);
  if (!pattern) {
    pattern = build(source, options.caseInsensitive === true);
    compiled.set(key, pattern);
  }
  return pattern;
}

/** @returns why the pattern cannot be used, or undefined. */
export function patternError(source: string, options: PatternOptions = {}): string | undefined {
  try {
    compilePattern(source, options);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function build(source: string, caseInsensitive: boolean): Pattern {
  const engine = compileEngine(source, caseInsensitive);
  const clip = (input: string): string => (input.length > INPUT_LENGTH_MAX ? input.slice(0, INPUT_LENGTH_MAX) : input);
  const exec = (input: string): PatternMatch | undefined => {
    const matcher = engine.matcher(clip(input));
    return matcher.find() ? readMatch(matcher) : undefined;
  };
  return {
    source,
    groupNames: engine.namedGroups(),
    test: (input) => engine.test(clip(input)),
    exec,
    replace(input, template, all = false) {
      const matcher = engine.matcher(clip(input));
      let output = "";
      let from = 0;
      while (matcher.find()) {
        const match = readMatch(matcher);
        output += input.slice(from, match.start) + fillTemplate(template, match.groups);
        from = match.end;
        if (!all) break;
      }
      return output + input.slice(from);
    },
  };
}

type Matcher = ReturnType<RE2JS["matcher"]>;

function readMatch(matcher: Matcher): PatternMatch {
  const groups: (string | undefined)[] = [];
  for (let at = 0; at <= matcher.groupCount(); at++) groups.push(matcher.group(at) ?? undefined);
  return { start: matcher.start(), end: matcher.end(), groups };
}

function fillTemplate(template: string, groups: readonly (string | undefined)[]): string {
  if (!template.includes("$")) return template;
  return template.replace(/\$(?:\$|&|(\d{1,2})|\{(\d{1,2})\})/g, (all, plain?: string, braced?: string) => {
    if (all === "$$") return "$";
    return groups[all === "$&" ? 0 : Number(plain ?? braced)] ?? "";
  });
}

function compileEngine(source: string, caseInsensitive: boolean): RE2JS {
  if (source.length > PATTERN_LENGTH_MAX) throw refuse(source, `longer than ${PATTERN_LENGTH_MAX} characters`);
  const unsupported = findUnsupported(source);
  if (unsupported !== undefined) throw refuse(source, `${unsupported} is not supported`);
  let engine: RE2JS;
  try {
    engine = RE2JS.compile(translate(source), caseInsensitive ? RE2JS.CASE_INSENSITIVE : 0);
  } catch (error) {
    throw refuse(source, messageOf(error).replace(/^error parsing regexp: /, ""));
  }
  if (engine.programSize() > PROGRAM_SIZE_MAX) throw refuse(source, "its counted repetitions are too many");
  return engine;
}

function refuse(source: string, why: string): CodedError {
  const shown = source.length > 100 ? `${source.slice(0, 100)}...` : source;
  return new CodedError("CONFIG_INVALID", { message: `invalid regular expression "${shown}": ${why}` });
}

const UNSUPPORTED: readonly (readonly [RegExp, string])[] = [
  [/^\(\?<?[=!]/, "look-around"],
  [/^\(\?>/, "an atomic group"],
  [/^\(\?[R0-9&+-]*\d\)/, "recursion"],
  [/^\(\?\(/, "a conditional group"],
  [/^\\[1-9]/, "a back-reference"],
  [/^\\[gk][{<'0-9-]/, "a back-reference"],
  [/^\\[KGX]/, "this escape"],
];

/** Names what RE2 cannot do, so that the refusal says more than "invalid". */
function findUnsupported(source: string): string | undefined {
  for (const token of tokens(source)) {
    if (token.inClass) continue;
    const rest = source.slice(token.start, token.start + 16);
    for (const [pattern, name] of UNSUPPORTED) if (pattern.test(rest)) return name;
  }
  return undefined;
}

const OUTSIDE_CLASS: Readonly<Record<string, string>> = {
  "\\Z": "(?:\\n?\\z)",
  "\\R": "(?:\\r\\n|[\\n\\v\\f\\r])",
  "\\N": "[^\\n]",
  "\\h": "[ \\t]",
  "\\H": "[^ \\t]",
  "\\e": "\\x1b",
};
const INSIDE_CLASS: Readonly<Record<string, string>> = { "\\h": " \\t", "\\e": "\\x1b" };

/** Spells what PCRE and RE2 say differently in RE2's way. */
function translate(source: string): string {
  let output = "";
  for (const { start, end, inClass } of tokens(source)) {
    const text = source.slice(start, end);
    output += (inClass ? INSIDE_CLASS : OUTSIDE_CLASS)[text] ?? text;
  }
  return output.replace(/^\(\?#[^)]*\)/, "");
}

interface Token {
  readonly start: number;
  readonly end: number;
  readonly inClass: boolean;
}

/** Splits a pattern into characters and two-character escapes, and says which stand inside [...]. */
function* tokens(source: string): Generator<Token> {
  let inClass = false;
  for (let at = 0; at < source.length; ) {
    const start = at;
    at += source[at] === "\\" && at + 1 < source.length ? 2 : 1;
    yield { start, end: at, inClass };
    const first = source[start];
    if (at - start === 2) continue;
    if (!inClass && first === "[") {
      inClass = true;
      // A "]" right after the opening, or after "[^", is a member.
      const negated = source[at] === "^" ? 1 : 0;
      if (source[at + negated] === "]") {
        yield { start: at, end: at + negated + 1, inClass };
        at += negated + 1;
      }
    } else if (inClass && first === "]") inClass = false;
    else if (inClass && first === "[" && source[at] === ":") {
      const close = source.indexOf(":]", at);
      if (close > 0) {
        yield { start: at, end: close + 2, inClass };
        at = close + 2;
      }
    }
  }
}
