/**
 * Hosts that the plain listener does not serve: those whose `ssls` record demands client certificates, which nobody can show
 * there. Judged by the records themselves, whether this node has a TLS listener or not and whether a certificate could be used.
 * Promise: costs a request nothing while no record verifies clients, else one look-up of its host.
 */
import { compilePattern } from "../../base/regex.ts";
import type { StoredValue } from "../../model/record.ts";
import type { Ssl } from "../../model/secret.ts";
import type { HostGuard } from "../client-connection.ts";
import { type OwnAnswer, pageAnswer } from "../gateway-pages.ts";
import type { SslSource } from "./tls-certificates.ts";
import { normaliseServerName } from "./tls-client-hello.ts";
import { type NameClaim, TlsNames } from "./tls-names.ts";

const NEEDS_TLS: OwnAnswer = pageAnswer("client_certificate_over_plain");

interface PlainHost extends NameClaim {
  readonly client: { skips(path: string): boolean } | undefined;
}

export function openPlainGuard(source: Pick<SslSource, "ssls" | "onSslChange">): HostGuard & { close(): void } {
  const names = new TlsNames<PlainHost>(() => undefined);
  const hosts = new Map<string, PlainHost>();
  let verifying = 0;
  const change = (id: string, value: StoredValue | undefined): void => {
    const before = hosts.get(id);
    const host = value && plainHost(id, value as Ssl); // true: the record passed the schema
    if (host) names.add(host);
    if (before) names.remove(before);
    if (host) hosts.set(id, host);
    else hosts.delete(id);
    verifying += Number(host?.client !== undefined) - Number(before?.client !== undefined);
  };
  const close = source.onSslChange(change);
  for (const [id, value] of source.ssls()) change(id, value);
  return {
    close,
    refusal(host, path, otherPaths = []) {
      if (verifying === 0) return undefined;
      const client = names.find(host)?.client;
      return !client || [path, ...otherPaths].every((one) => client.skips(one)) ? undefined : NEEDS_TLS;
    },
  };
}

/** @returns undefined for what serves no name */
function plainHost(id: string, ssl: Ssl): PlainHost | undefined {
  if (ssl.type === "client" || ssl.status === 0) return undefined;
  const names = [...new Set([ssl.sni ?? [], ssl.snis ?? []].flat().map(normaliseServerName))];
  const client = ssl.client && ssl.client.optional !== true && { skips: skipper(ssl.client.skip_mtls_uri_regex ?? []) };
  return { id, names, client: client || undefined, expiresMs: 0 };
}

function skipper(sources: readonly string[]): (path: string) => boolean {
  try {
    const patterns = sources.map((source) => compilePattern(source));
    return (path) => patterns.some((pattern) => pattern.test(path));
  } catch {
    return () => false; // the record's problem; nothing is open because of it
  }
}
