/**
 * Path patterns of routes, split into what an index can look up (whole path or literal prefix) and what is left to test.
 * Promise: a test takes time linear in the path, whatever the pattern; nothing is compiled per request.
 * Source: docs/spec/routing.md section 2.
 */
import { compilePattern } from "../../base/regex.ts";

export interface UriPattern {
  /** As configured. */
  readonly source: string;
  /** The literal text the path must equal, or begin with. */
  readonly literal: string;
  readonly exact: boolean;
  /** What the path must satisfy besides its prefix; undefined when the prefix says all. */
  readonly tail: UriTail | undefined;
}

/** @returns the captured parameters, empty where the pattern names none; undefined when the path does not fit */
type UriTail = (path: string) => ReadonlyMap<string, string> | undefined;

const NO_PARAMETERS: ReadonlyMap<string, string> = new Map();

/** Where a pattern is looked up: its literal text, and whether that is all of it. */
export function literalOf(source: string, withParameters: boolean): { literal: string; exact: boolean } {
  const special = source.search(withParameters ? /[*:]/ : /\*/);
  return special < 0 ? { literal: source, exact: true } : { literal: source.slice(0, special), exact: false };
}

/** @param withParameters radixtree_uri_with_parameter: `:name` and `*name` at the start of a segment capture */
export function compileUriPattern(source: string, withParameters: boolean): UriPattern {
  const { literal, exact } = literalOf(source, withParameters);
  const tail = exact ? undefined : compileTail(source, literal.length, withParameters);
  return { source, literal, exact, tail };
}

function compileTail(source: string, special: number, withParameters: boolean): UriTail | undefined {
  const isLast = special === source.length - 1 && source[special] === "*";
  const captures = withParameters && source[special - 1] === "/";
  if (isLast) return captures ? restTail(special) : undefined;
  const { text, names, stars } = translate(source, withParameters);
  // With two stars a backtracking engine may take quadratic time: those go to the linear one.
  const exec = stars > 1 ? linearExec(text) : nativeExec(text);
  return (path) => {
    const groups = exec(path);
    if (!groups) return undefined;
    if (names.length === 0) return NO_PARAMETERS;
    const parameters = new Map<string, string>();
    for (let at = 0; at < names.length; at++) parameters.set(names[at] as string, groups[at + 1] ?? "");
    return parameters;
  };
}

/** `/foo/*`: everything behind the prefix. */
function restTail(from: number): UriTail {
  return (path) => new Map([[REST, path.slice(from)]]);
}

const REST = ":ext"; // APISIX's name for what an unnamed star at the start of a segment captures

interface Translation {
  readonly text: string;
  readonly names: readonly string[];
  readonly stars: number;
}

function translate(source: string, withParameters: boolean): Translation {
  const names: string[] = [];
  let stars = 0;
  const literal = (text: string): string =>
    text
      .split("*")
      .map((part, at) => {
        if (at > 0) stars++;
        return part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&");
      })
      .join("[\\s\\S]*");
  if (!withParameters) return { text: `^${literal(source)}$`, names, stars };
  const segments = source.split("/").map((segment) => {
    const first = segment[0];
    if (first === ":" && segment.length > 1) {
      names.push(segment.slice(1));
      return "([^/]+)";
    }
    if (first !== "*") return literal(segment);
    names.push(segment.length > 1 ? segment.slice(1) : REST);
    stars++;
    return "([\\s\\S]*)";
  });
  return { text: `^${segments.join("/")}$`, names, stars };
}

type Exec = (path: string) => readonly (string | undefined)[] | undefined | null;

function nativeExec(text: string): Exec {
  const pattern = new RegExp(text);
  return (path) => pattern.exec(path);
}

function linearExec(text: string): Exec {
  const pattern = compilePattern(text);
  return (path) => pattern.exec(path)?.groups;
}
