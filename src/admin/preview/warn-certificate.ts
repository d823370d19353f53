/**
 * What is suspicious about the certificates of an `ssls` record: names they do not cover, chains in the wrong order, times.
 */
import { X509Certificate } from "node:crypto";
import { isReference } from "../../base/reference.ts";
import { type Members, own } from "../read/stored-record.ts";
import type { RecordFault } from "./warn-record.ts";

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

export function certificateFaults(value: Members, nowMs: number): RecordFault[] {
  const all = [own(value, "cert"), own(value, "certs")].flat();
  const names = [own(value, "sni"), own(value, "snis")].flat().filter((name) => typeof name === "string");
  return all.flatMap((pem, at) => {
    if (typeof pem !== "string" || isReference(pem)) return [];
    const what = at === 0 ? "cert" : `certs[${at - 1}]`;
    return faultsOf(pem, own(value, "type") === "client" ? [] : names, nowMs).map(
      (message): RecordFault => ({ code: "certificate", message: `${what} ${message}` }),
    );
  });
}

function faultsOf(pem: string, names: readonly string[], nowMs: number): string[] {
  const chain = (pem.match(PEM) ?? []).flatMap(read);
  const [leaf] = chain;
  if (!leaf) return []; // the checks of the write speak of that
  const faults: string[] = [];
  if (Date.parse(leaf.validTo) <= nowMs) faults.push(`expired on ${leaf.validTo}`);
  if (Date.parse(leaf.validFrom) > nowMs) faults.push(`is not valid before ${leaf.validFrom}`);
  const uncovered = names.filter((name) => !covers(leaf, name));
  if (uncovered.length > 0)
    faults.push(`does not cover ${uncovered.join(", ")}: clients will refuse it for these names`);
  const broken = chain.findIndex((one, at) => at > 0 && chain[at - 1]?.issuer !== one.subject);
  if (broken > 0) {
    faults.push(
      `has a chain out of order: certificate ${broken + 1} did not issue certificate ${broken}; write the leaf first`,
    );
  }
  return faults;
}

function read(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)];
  } catch {
    return []; // the checks of the write speak of that
  }
}

/** A wildcard name is covered by the same one only. */
function covers(certificate: X509Certificate, name: string): boolean {
  const wanted = name.toLowerCase();
  if (wanted === "*") return true;
  if (!wanted.startsWith("*.")) return certificate.checkHost(wanted) !== undefined;
  const listed = (certificate.subjectAltName ?? "").toLowerCase().split(/,\s*/);
  return listed.includes(`dns:${wanted}`) || certificate.checkHost(`a${wanted.slice(1)}`) !== undefined;
}
