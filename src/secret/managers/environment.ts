/**
 * Values of `$ENV://NAME` and `$ENV://NAME/member`, from the environment as it was when the process started.
 * Promise: the gateway's own settings (JOTGATE_…), which hold its keys, cannot be named. Source: docs/spec/secrets.md section 1.
 */
import { foundIn, parseDocument, type Reading } from "./reading.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export type ReadEnvironment = (name: string, sub: string | undefined) => Reading;

/**
 * A reader of that environment; `sub` is a member of the JSON object that a variable holds.
 * @param allowed names that may be referenced, "*" at the end stands for any rest; undefined allows all
 */
export function openEnvironment(environment: Environment, allowed: readonly string[] | undefined): ReadEnvironment {
  const isAllowed = (name: string): boolean =>
    !name.startsWith("JOTGATE_") && (allowed === undefined || allowed.some((pattern) => matches(pattern, name)));
  return (name, sub) =>
    isAllowed(name)
      ? readVariable(environment, name, sub)
      : { kind: "absent", why: `environment variable ${name} may not be referenced` };
}

function matches(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function readVariable(environment: Environment, name: string, sub: string | undefined): Reading {
  const text = Object.hasOwn(environment, name) ? environment[name] : undefined;
  if (text === undefined) return { kind: "absent", why: `no environment variable ${name}` };
  if (sub === undefined) return { kind: "found", value: text };
  const document = parseDocument(text);
  return document === undefined
    ? { kind: "absent", why: `decode failed, err: environment variable ${name} is not JSON` }
    : foundIn(document, sub);
}
