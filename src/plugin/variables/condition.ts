/**
 * Expressions bound to request variables: `_meta.filter`, route `vars`, and every `vars` of a plugin.
 * Promise: names are resolved when configuration changes; a test makes no closure, and throws only where a path has
 * several readings that it would judge differently.
 * Source: docs/spec/routing.md section 7.
 */
import { type Clock, systemClock } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import { compileExpression } from "../../model/expression.ts";
import type { RequestView } from "../request-view.ts";
import { needsBody } from "./body-variables.ts";
import type { Variable, VariableValue } from "./query.ts";
import { compileVariable } from "./variables.ts";

export interface Condition {
  /** Not re-entrant, and needs not be: it never waits. */
  test(view: RequestView): boolean;
  /** Whether `loadBodyVariables` must have run before. */
  readonly needsBody: boolean;
}

/** @throws CodedError CONFIG_INVALID with the text of `checkExpression` (model/expression.ts) */
export function compileCondition(expression: unknown, clock: Clock = systemClock): Condition {
  const holds = compileExpression(expression);
  const names = new Set<string>();
  collectNames(expression, names);
  const readers = new Map<string, Variable>();
  for (const name of names) readers.set(name, compileVariable(name, clock));
  let current: RequestView | undefined;
  const readsPath = [...names].some((name) => PATH_VARIABLES.has(name));
  const read = (name: string): VariableValue => (current === undefined ? undefined : readers.get(name)?.(current));
  const testOne = (view: RequestView): boolean => {
    current = view;
    const result = holds(read);
    current = undefined;
    return result;
  };
  return {
    needsBody: [...names].some(needsBody),
    test(view) {
      if (readsPath && view.head.otherPaths.length > 0 && !view.isAlike(testOne))
        throw new CodedError("REQUEST_INVALID", {
          message: "a condition on the path holds for some readers of it only",
        });
      return testOne(view);
    },
  };
}

const PATH_VARIABLES: ReadonlySet<string> = new Set(["uri", "document_uri", "request_uri"]);

/** The first text of each innermost rule; an operator word is taken for a name too, which costs nothing. */
function collectNames(rule: unknown, names: Set<string>): void {
  if (!Array.isArray(rule)) return;
  const [first] = rule;
  if (typeof first === "string") names.add(first);
  for (const part of rule) collectNames(part, names);
}
