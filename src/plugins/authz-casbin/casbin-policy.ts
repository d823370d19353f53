/**
 * A Casbin model with its policy, ready to be asked: read, checked and linked when configuration changes.
 * Promise: whoever is asked about changes nothing in it; patterns take time that is linear in what a client sends.
 */
import type { Enforcer, Model } from "casbin";
import { messageOf } from "../../base/errors.ts";
import { compileIpSet } from "../../base/net/ip.ts";
import { compilePattern } from "../../base/regex.ts";
import { library } from "../shared/library.ts";
import { matcherError } from "./casbin-matcher.ts";

/** Whether the policy lets that user do that there. Throws what a policy throws that cannot be evaluated. */
export type CasbinPolicy = (user: string, path: string, method: string) => boolean;

const casbin = (): typeof import("casbin") => library<typeof import("casbin")>("casbin");

/** As deep as roles may inherit each other. */
const ROLE_LEVELS = 10;

/** @returns text: why it is none; it never holds a line of either */
export function compileCasbinPolicy(modelText: string, policyText: string): CasbinPolicy | string {
  try {
    const { Enforcer: CasbinEnforcer, newModelFromString } = casbin();
    const model = newModelFromString(modelText);
    const error = matcherError(model, FUNCTION_NAMES) ?? loadRules(model, policyText);
    if (error !== undefined) return error;
    const enforcer = new CasbinEnforcer();
    enforcer.setModel(model);
    enforcer.sortPolicies();
    linkRoles(model);
    takeOwnFunctions(enforcer);
    const judge: CasbinPolicy = (user, path, method) => enforcer.enforceSync(user, path, method);
    judge("", "/", "GET"); // a matcher that cannot be evaluated is seen here
    return judge;
  } catch (error) {
    return `the model or its policy cannot be used: ${messageOf(error).split("\n", 1)[0]}`;
  }
}

function loadRules(model: Model, policyText: string): string | undefined {
  const { Helper } = casbin();
  for (const [at, line] of policyText.split("\n").entries()) {
    const type = /^\s*([pg]\d*)\s*,/.exec(line)?.[1];
    if (type === undefined) {
      if (line.trim() === "" || line.trim().startsWith("#")) continue;
      return `line ${at + 1} of the policy is no rule`;
    }
    const section = model.model.get(type.charAt(0))?.get(type);
    if (!section) return `line ${at + 1} of the policy: the model has no ${type}`;
    const before = section.policy.length;
    Helper.loadPolicyLine(line, model);
    const wanted = type.startsWith("p") ? section.tokens.length : section.value.split("_").length - 1;
    const fields = section.policy[before]?.length;
    if (fields !== undefined && fields !== wanted)
      return `line ${at + 1} of the policy has ${fields} fields, its definition ${wanted}`;
  }
  return undefined;
}

function linkRoles(model: Model): void {
  const { DefaultRoleManager } = casbin();
  for (const section of model.model.get("g")?.values() ?? []) {
    const roles = new DefaultRoleManager(ROLE_LEVELS);
    // It waits for nothing, whatever it returns.
    for (const [user = "", role = "", ...domain] of section.policy)
      roles.addLink(user, role, ...domain).catch(() => undefined);
    section.rm = roles;
  }
}

type TextTest = (text: string, key: string) => boolean;

/** A key whose `/*` is whatever follows and whose names are one segment each. */
const keyOf =
  (name: RegExp): TextTest =>
  (text, key) =>
    compilePattern(`^${key.replaceAll("/*", "/.*").replace(name, "[^/]+")}$`).test(text);

/**
 * What a matcher may call. Those of the library run a client's text through patterns without a bound on their time, and some never
 * end for odd keys.
 */
const FUNCTIONS: Readonly<Record<string, TextTest>> = {
  keyMatch(text, key) {
    const star = key.indexOf("*");
    return star < 0 ? text === key : text.slice(0, star) === key.slice(0, star);
  },
  keyMatch2: keyOf(/:[^/]+/g),
  keyMatch3: keyOf(/\{[^/]+\}/g),
  keyMatch5: (text, key) => keyOf(/\{[^/]+\}/g)(text.split("?", 1)[0] ?? "", key),
  regexMatch: (text, pattern) => compilePattern(pattern).test(text),
  ipMatch: (text, range) => compileIpSet([range])(text),
};
const FUNCTION_NAMES: ReadonlySet<string> = new Set(Object.keys(FUNCTIONS));

/** Everything else is unknown to the matcher, and refused when the policy is written. */
function takeOwnFunctions(enforcer: Enforcer): void {
  const { FunctionMap } = casbin();
  const functions = new FunctionMap();
  for (const [name, holds] of Object.entries(FUNCTIONS))
    functions.addFunction(name, (text: unknown, key: unknown) => holds(String(text ?? ""), String(key ?? "")));
  // True: it is where the library keeps them, which gives subclasses alone a way to it.
  (enforcer as unknown as { fm: typeof functions }).fm = functions;
}
