/**
 * Expressions bound to request variables: what route `vars` and `_meta.filter` become when configuration changes.
 * Promise: names are resolved once; a test makes no closure and no object.
 */
import { compileExpression } from "../model/expression.ts";
import { needsBody } from "../plugin/body-variables.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { compileVariable, type Variable } from "../plugin/variables.ts";

export interface Condition {
  /** Whether `loadBodyVariables` must have run before `test`. */
  readonly needsBody: boolean;
  test(view: RequestView): boolean;
}

/** @throws GatewayError CONFIG_INVALID with the text of checkExpression */
export function compileCondition(expression: unknown): Condition {
  const compiled = compileExpression(expression);
  const names = new Set<string>();
  collectNames(expression, names);
  const variables = new Map<string, Variable>([...names].map((name) => [name, compileVariable(name)]));
  let current: RequestView | undefined;
  // Tests are synchronous and variables do not test conditions, so one place for the current view is enough.
  const read = (name: string): unknown => (current === undefined ? undefined : variables.get(name)?.(current));
  return {
    needsBody: [...names].some(needsBody),
    test(view) {
      current = view;
      try {
        return compiled(read);
      } finally {
        current = undefined;
      }
    },
  };
}

/** Every first string of a rule; logic words among them do no harm, they are variables nobody has. */
function collectNames(rule: unknown, names: Set<string>): void {
  if (!Array.isArray(rule)) return;
  if (typeof rule[0] === "string") names.add(rule[0]);
  for (const part of rule) collectNames(part, names);
}
