/**
 * Values of `$ENV://NAME` and `$ENV://NAME/member`, from the environment as it was when the process started.
 * Promise: the gateway's own settings (JOTGATE_…), which hold its keys, cannot be named. Source: spec/secrets.md section 1.
 */
import { foundIn, parseDocument, type Reading } from "./reading.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** @param sub member of the JSON object that the variable holds */
export function readEnvironment(environment: Environment, name: string, sub: string | undefined): Reading {
  if (name.startsWith("JOTGATE_")) return { kind: "absent", why: `environment variable ${name} may not be referenced` };
  const text = Object.hasOwn(environment, name) ? environment[name] : undefined;
  if (text === undefined) return { kind: "absent", why: `no environment variable ${name}` };
  if (sub === undefined) return { kind: "found", value: text };
  const document = parseDocument(text);
  return document === undefined
    ? { kind: "absent", why: `decode failed, err: environment variable ${name} is not JSON` }
    : foundIn(document, sub);
}
