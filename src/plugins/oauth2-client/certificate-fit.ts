/**
 * Which certificate is a client's: one of the name that it is registered with, or one of its own making whose key is registered.
 * Promise: names are compared whole and after unescaping, never as parts of a text; a name that cannot be read fits nothing.
 * Sources: RFC 8705 section 2, RFC 4514, docs/spec/tokens.md section 5.3.
 */
import type { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { KEY_PAIR_ALGORITHMS } from "../../base/jose/algorithms.ts";
import { type JwkSet, jwkSetOf } from "../../base/jose/jwk.ts";
import { compileIpSet } from "../../base/net/ip.ts";

interface CertificateNames {
  readonly tls_client_auth_subject_dn?: string;
  readonly tls_client_auth_san_dns?: string;
  readonly tls_client_auth_san_uri?: string;
  readonly tls_client_auth_san_ip?: string;
  readonly tls_client_auth_san_email?: string;
}

export type FitsCertificate = (certificate: X509Certificate) => boolean;

const NAMES = [
  "tls_client_auth_subject_dn",
  "tls_client_auth_san_dns",
  "tls_client_auth_san_uri",
  "tls_client_auth_san_ip",
  "tls_client_auth_san_email",
] as const;
const ACCEPTED: ReadonlySet<string> = new Set(KEY_PAIR_ALGORITHMS);

/** @returns the one name by which a client is known, or what is wrong */
export function certificateFitter(conf: CertificateNames): FitsCertificate | string {
  const [name, ...more] = NAMES.filter((one) => conf[one] !== undefined);
  if (name === undefined || more.length > 0) return `tls_client_auth needs exactly one of ${NAMES.join(", ")}`;
  const value = conf[name] ?? "";
  switch (name) {
    case "tls_client_auth_subject_dn":
      return subjectFitter(value);
    case "tls_client_auth_san_dns":
      return (certificate) => alternativeNames(certificate, "DNS").some((one) => isSameText(one, value));
    case "tls_client_auth_san_uri":
      return (certificate) => alternativeNames(certificate, "URI").includes(value);
    case "tls_client_auth_san_email":
      return (certificate) => alternativeNames(certificate, "email").includes(value);
    default: {
      if (isIP(value) === 0) return `${name} is no IP address`;
      const isIt = compileIpSet([value]);
      return (certificate) => alternativeNames(certificate, "IP Address").some((one) => isIP(one) !== 0 && isIt(one));
    }
  }
}

/** Keys of a client. @returns text: why there are none */
export function clientKeys(jwks: Readonly<Record<string, unknown>>): JwkSet["keys"] | string {
  const set = jwkSetOf(jwks, ACCEPTED);
  if (typeof set === "string") return `jwks: ${set}`;
  const [skipped] = set.skipped;
  return skipped === undefined ? set.keys : `jwks: key ${JSON.stringify(skipped.kid)}: ${skipped.why}`;
}

export function selfSignedFitter(keys: JwkSet["keys"]): FitsCertificate {
  return ({ publicKey }) => keys.some(({ key }) => key.equals(publicKey));
}

function subjectFitter(wanted: string): FitsCertificate | string {
  const name = readName(wanted);
  if (name === undefined) return "tls_client_auth_subject_dn is no name as RFC 4514 writes it: CN=batch,O=Shop,C=DE";
  const text = JSON.stringify(name);
  // A certificate has its name from the country down, one line a part; RFC 4514 writes it the other way round.
  return ({ subject }) => {
    const parts = subject.split("\n").map(readName).reverse();
    return parts.every((part) => part?.length === 1) && JSON.stringify(parts.flat()) === text;
  };
}

/** One `type=value`, and what comes behind it. */
const PART = /\s*([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)=((?:\\[0-9A-Fa-f]{2}|\\.|[^\\,+;<>"\n])*?)\s*(,|\+|$)/suy;

/** @returns its parts in their order, each with its values in one; undefined: it is none */
function readName(text: string): readonly string[] | undefined {
  const parts: string[][] = [[]];
  PART.lastIndex = 0;
  for (;;) {
    const [, type, escaped = "", behind] = PART.exec(text) ?? [];
    const value = escaped.startsWith("#") ? undefined : unescaped(escaped);
    if (type === undefined || value === undefined) return undefined;
    parts.at(-1)?.push(`${type.toLowerCase()}=${value}`);
    if (behind === "") return parts.map((values) => JSON.stringify(values.sort()));
    if (behind === ",") parts.push([]);
  }
}

function unescaped(text: string): string | undefined {
  const percent = text.replace(/\\([0-9A-Fa-f]{2})|\\(.)|[^\\]/gsu, (all, hex?: string, char?: string) =>
    hex === undefined ? encodeURIComponent(char ?? all) : `%${hex}`,
  );
  try {
    return decodeURIComponent(percent);
  } catch {
    return undefined;
  }
}

/** Node writes one behind the other, and quotes those that could be read as several. */
const ALTERNATIVE = /([A-Za-z0-9 ]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y;

function alternativeNames({ subjectAltName: text = "" }: X509Certificate, kind: string): readonly string[] {
  const found: string[] = [];
  ALTERNATIVE.lastIndex = 0;
  while (ALTERNATIVE.lastIndex < text.length) {
    const [, type, value = ""] = ALTERNATIVE.exec(text) ?? [];
    if (type === undefined) return [];
    if (type === kind && !value.startsWith('"')) found.push(value);
  }
  return found;
}

function isSameText(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}
