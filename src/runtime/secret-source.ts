/**
 * What the runtime asks of whoever resolves secret references (floor `secret` is a sibling and is handed in).
 */
import { isReference } from "../base/reference.ts";

export interface SecretSource {
  /**
   * What a reference stands for, from the source's own cache where it is there.
   * @returns the value, undefined when it cannot be resolved now; a promise of these when it has to be asked for.
   *          `$ENV://` never gives a promise; nothing throws or rejects.
   */
  resolve(reference: string): unknown;
  /** Asks anew, whatever the cache says. Calls for one reference at the same time are one question. */
  refresh(reference: string): Promise<unknown>;
  /** A record under /secrets ("vault/jwt") came, changed or went: what was resolved by it is forgotten. */
  setRecord(id: string, value: Readonly<Record<string, unknown>> | undefined): void;
}

/** Every reference among the strings of a configuration, in the order they stand there. */
export function referencesIn(conf: unknown): readonly string[] {
  const found: string[] = [];
  collect(conf, found);
  return found.length === 0 ? NONE : found;
}

const NONE: readonly string[] = Object.freeze([]);

function collect(value: unknown, found: string[]): void {
  if (typeof value === "string") {
    if (isReference(value)) found.push(value);
  } else if (Array.isArray(value)) {
    for (const item of value) collect(item, found);
  } else if (typeof value === "object" && value !== null) {
    for (const name in value) collect((value as Record<string, unknown>)[name], found);
  }
}

/** A copy with references replaced. @param values by reference; the caller has made sure that all are there */
export function withSecrets(conf: unknown, values: ReadonlyMap<string, unknown>): unknown {
  if (typeof conf === "string") return values.has(conf) ? values.get(conf) : conf;
  if (Array.isArray(conf)) return conf.map((item) => withSecrets(item, values));
  if (typeof conf !== "object" || conf === null) return conf;
  return Object.fromEntries(Object.entries(conf).map(([name, value]) => [name, withSecrets(value, values)]));
}
