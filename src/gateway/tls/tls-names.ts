/**
 * Which certificate answers to a server name: the exact name, then the longest wildcard, then `*`.
 * Promise: a wildcard stands for one label and no more; when records claim the same name, all nodes choose the same one.
 * Source: docs/spec/resources.md "SSL"; APISIX 3.18's ssl/router/radixtree_sni.lua, where `*st.com` is a wildcard, too.
 */
import type { ServerCertificate } from "./server-certificate.ts";

/** What decides between records that claim the same name. */
export interface NameClaim {
  readonly id: string;
  readonly names: readonly string[];
  readonly client: unknown;
  readonly expiresMs: number;
}

/** Told when the claims on a name have changed. @param hosts the one that serves first; empty when nobody claims it */
type NameListener<Host extends NameClaim = ServerCertificate> = (name: string, hosts: readonly Host[]) => void;

export class TlsNames<Host extends NameClaim = ServerCertificate> {
  readonly #exact = new Map<string, readonly Host[]>();
  /** By what stands behind the asterisk. */
  readonly #wildcards = new Map<string, readonly Host[]>();
  /** Wildcards that begin inside a label. */
  #inside = 0;
  readonly #changed: NameListener<Host>;

  constructor(changed: NameListener<Host>) {
    this.#changed = changed;
  }

  /** @param name in lower case, without a dot at its end. Cost: two or three look-ups. */
  find(name: string): Host | undefined {
    const exact = this.#exact.get(name);
    if (exact) return exact[0];
    if (this.#wildcards.size === 0) return undefined;
    const dot = name.indexOf(".");
    const end = dot < 0 ? name.length : dot;
    for (let at = this.#inside > 0 ? 0 : end; at <= end && at < name.length; at++) {
      const wildcard = this.#wildcards.get(name.slice(at));
      if (wildcard) return wildcard[0];
    }
    return this.#wildcards.get("")?.[0];
  }

  /** Who serves a name as a record has it. */
  first(name: string): Host | undefined {
    return (name.startsWith("*") ? this.#wildcards.get(name.slice(1)) : this.#exact.get(name))?.[0];
  }

  add(host: Host): void {
    for (const name of host.names) this.#update(name, (hosts) => [...hosts, host].sort(compareClaims));
  }

  remove(host: Host): void {
    for (const name of host.names) this.#update(name, (hosts) => hosts.filter((one) => one !== host));
  }

  #update(name: string, change: (hosts: readonly Host[]) => readonly Host[]): void {
    const isWildcard = name.startsWith("*");
    const map = isWildcard ? this.#wildcards : this.#exact;
    const key = isWildcard ? name.slice(1) : name;
    const isInside = isWildcard && key !== "" && !key.startsWith(".");
    const before = map.get(key);
    const after = change(before ?? []);
    if (after.length === 0) map.delete(key);
    else map.set(key, after);
    if (isInside && before === undefined && after.length > 0) this.#inside++;
    if (isInside && before !== undefined && after.length === 0) this.#inside--;
    this.#changed(name, after);
  }
}

/** Whoever verifies clients comes first, so that a second record cannot open a closed door; then the later expiry. */
function compareClaims(one: NameClaim, other: NameClaim): number {
  const byClient = Number(other.client !== undefined) - Number(one.client !== undefined);
  if (byClient !== 0) return byClient;
  if (one.expiresMs !== other.expiresMs) return other.expiresMs - one.expiresMs;
  return one.id < other.id ? -1 : 1;
}
