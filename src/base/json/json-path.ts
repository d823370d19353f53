/**
 * The part of JSONPath that `post_arg.<path>` variables need: members, indexes, wildcards, slices, unions, descent.
 * Promise: a path is parsed once; a query visits at most VISITS_MAX values, whatever the body and the path are.
 * Filters and scripts (`[?(...)]`) are refused. Source: docs/spec/routing.md section 7; APISIX 3.18 reads these paths as lua-jsonpath does.
 */
import { isMembers } from "./members.ts";

/** Values a path leads to, in document order; nothing found is an empty list. */
type JsonPath = (root: unknown) => readonly unknown[];

type Step = (from: unknown, found: (value: unknown) => void) => void;

/** Descent in descent multiplies: beyond this the rest of the document is not looked at. */
const VISITS_MAX = 100_000;

/**
 * @param path without the leading `$.`, such as `messages[*].content[0].type`
 * @returns the error's text for what is no path
 */
export function compileJsonPath(path: string): JsonPath | string {
  const steps: Step[] = [];
  for (let at = 0; at < path.length; ) {
    const rest = path.slice(at);
    const [length, step] = memberStep(rest, at === 0) ?? bracketStep(rest) ?? [0, undefined];
    if (!step) return `invalid expression "$.${path}" near "${rest}"`;
    steps.push(step);
    at += length;
  }
  if (steps.length === 0) return 'invalid expression "$." near "."';
  return (root) => query(steps, root);
}

function query(steps: readonly Step[], root: unknown): unknown[] {
  let values = [root];
  let visits = 0;
  for (const step of steps) {
    const next: unknown[] = [];
    for (const value of values) {
      step(value, (found) => {
        if (++visits <= VISITS_MAX) next.push(found);
      });
      if (visits > VISITS_MAX) break;
    }
    values = next;
  }
  return values;
}

/** `name`, `.name`, `..name`, each also with `*`. */
function memberStep(text: string, isFirst: boolean): [number, Step] | undefined {
  const match = /^(\.{0,2})(\*|[^.[\]*'"\s]+)/.exec(text);
  const [all = "", dots = "", name = ""] = match ?? [];
  if (!match || (dots === "" && !isFirst)) return undefined;
  const step = name === "*" ? children : member(name);
  return [all.length, dots === ".." ? descending(step) : step];
}

/** `[*]`, `[0]`, `[-1]`, `['name']`, `[0,2]`, `[1:3]`, each also after `..`. */
function bracketStep(text: string): [number, Step] | undefined {
  const match = /^(\.\.)?\[\s*((?:'[^']*'|"[^"]*"|[^[\]'"])*?)\s*\]/.exec(text);
  if (!match) return undefined;
  const [all, dots, inside = ""] = match;
  const parts = (inside.match(/'[^']*'|"[^"]*"|[^,]+/g) ?? []).map((part) => selector(part.trim()));
  if (parts.length === 0 || parts.includes(undefined)) return undefined;
  const steps = parts as Step[]; // none is undefined: seen above
  const step: Step = (from, found) => {
    for (const one of steps) one(from, found);
  };
  return [all.length, dots === undefined ? step : descending(step)];
}

function selector(text: string): Step | undefined {
  if (text === "*") return children;
  const quoted = /^(?:'([^']*)'|"([^"]*)")$/.exec(text);
  if (quoted) return member(quoted[1] ?? quoted[2] ?? "");
  if (/^-?\d{1,9}$/.test(text)) return item(Number(text));
  const bounds = /^(-?\d{1,9})?:(-?\d{1,9})?$/.exec(text);
  if (!bounds) return undefined;
  const [first, end] = [bounds[1], bounds[2]].map((bound) => (bound === undefined ? undefined : Number(bound)));
  return (from, found) => {
    if (Array.isArray(from)) from.slice(first, end).forEach(found);
  };
}

function member(name: string): Step {
  return (from, found) => {
    if (isMembers(from) && Object.hasOwn(from, name)) found(from[name]);
  };
}

function item(index: number): Step {
  return (from, found) => {
    if (!Array.isArray(from)) return;
    const value: unknown = from.at(index);
    if (value !== undefined) found(value);
  };
}

const children: Step = (from, found) => {
  if (typeof from !== "object" || from === null) return;
  for (const value of Object.values(from)) found(value);
};

/** The step from a value and from all below it. */
function descending(step: Step): Step {
  return (from, found) => {
    let left = VISITS_MAX;
    const visit = (value: unknown): void => {
      if (left-- <= 0) return;
      step(value, found);
      children(value, visit);
    };
    visit(from);
  };
}
