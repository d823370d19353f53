/**
 * The string formats that schemas may name, and the one way schemas' patterns are compiled.
 * Patterns here come from our own schemas only; patterns of users go through base/regex.ts.
 */
import { isIPv4, isIPv6 } from "node:net";

const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/;

/** Format name → does this text have it. Unknown formats are not checked. */
export const FORMATS: Readonly<Record<string, (text: string) => boolean>> = {
  ipv4: isIPv4,
  ipv6: isIPv6,
  hostname: (text) => /^[a-zA-Z0-9\-.]+$/.test(text),
  uuid: (text) => UUID.test(text),
  email: (text) => /^[A-Za-z0-9_\-.]+@[A-Za-z0-9_\-.]+\.[A-Za-z]{2,4}$/.test(text),
  uri: (text) => /^[a-zA-Z][a-zA-Z0-9+\-.]*:[^\s]*$/.test(text),
};

const compiled = new Map<string, RegExp>();

/** A schema's pattern, compiled once. The number of patterns is that of our schemas, so the map is bounded. */
export function schemaPattern(source: string): RegExp {
  let pattern = compiled.get(source);
  if (!pattern) {
    pattern = new RegExp(source);
    compiled.set(source, pattern);
  }
  return pattern;
}
