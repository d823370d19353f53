/**
 * Which Host names a listener without keys answers to. A page in an operator's browser may have its own name resolve to this
 * machine (DNS rebinding); it cannot make the browser send another name, and no public name is among those known here.
 */

import { isIP } from "node:net";
import { hostname } from "node:os";

/**
 * Known are addresses, names without a dot, `localhost` and what ends in it, this machine's name, and those given.
 * @param names further ones, such as where other nodes reach the listener @returns whether a Host value is known
 */
export function knownHosts(names: readonly string[]): (host: string | undefined) => boolean {
  const known = new Set([hostname(), ...names].map((name) => name.toLowerCase()));
  return (value) => {
    if (value === undefined || value === "") return true; // HTTP/1.0: no browser leaves it out
    const host = nameIn(value.toLowerCase());
    return isIP(host) !== 0 || !host.includes(".") || host.endsWith(".localhost") || known.has(host);
  };
}

/** Without port, brackets and the dot of the root. */
function nameIn(value: string): string {
  if (value.startsWith("[")) return value.slice(1, value.indexOf("]"));
  const colon = value.indexOf(":");
  return (colon < 0 ? value : value.slice(0, colon)).replace(/\.$/, "");
}
