/**
 * What routes must satisfy beyond their schema, in APISIX's order of checks.
 * Pure: no I/O; references and plugins are checked by the writer, between the two halves.
 * Source: docs/spec/admin-api.md section 5.7.
 */
import { compileJsonPath } from "../base/json/json-path.ts";
import { checkExpression } from "./expression.ts";

type Members = Readonly<Record<string, unknown>>;

/** What is looked at before the schema. */
export function routeBeforeSchema(route: Members): string | undefined {
  for (const [one, many] of [
    ["host", "hosts"],
    ["remote_addr", "remote_addrs"],
  ] as const) {
    if (isSet(route, one) && isSet(route, many)) return `only one of ${one} or ${many} is allowed`;
  }
  return undefined;
}

/** What is looked at last. Lua is refused: nothing here could run it. */
export function routeAfterPlugins(route: Members): string | undefined {
  if (isSet(route, "vars")) {
    const error = checkExpression(route["vars"]) ?? bodyPathError(route["vars"]);
    if (error !== undefined) return `failed to validate the 'vars' expression: ${error}`;
  }
  if (isSet(route, "filter_func")) return "failed to load 'filter_func' string: Lua is not supported, use 'vars'";
  return luaScript(route);
}

const BODY_PATH = "post_arg.";

/** The first condition on a body whose path is none. Called with what `checkExpression` has let through, so depth is bounded. */
function bodyPathError(rule: unknown): string | undefined {
  if (!Array.isArray(rule)) return undefined;
  const [name] = rule;
  if (rule.length >= 3 && typeof name === "string" && name.startsWith(BODY_PATH)) {
    const path = compileJsonPath(name.slice(BODY_PATH.length));
    return typeof path === "string" ? path : undefined;
  }
  for (const part of rule) {
    const error = bodyPathError(part);
    if (error !== undefined) return error;
  }
  return undefined;
}

/** Services may carry a script as well. */
export function luaScript(record: Members): string | undefined {
  return isSet(record, "script") ? "failed to load 'script' string: Lua is not supported" : undefined;
}

function isSet(members: Members, name: string): boolean {
  return Object.hasOwn(members, name) && members[name] !== null && members[name] !== false;
}
