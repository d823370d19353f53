/**
 * What is suspicious about an issuer of tokens: each fault says who could make tokens that are then accepted.
 */
import { isIP } from "node:net";
import { type Members, own } from "../../base/json/members.ts";
import { isReference } from "../../base/reference.ts";
import type { TokenIssuer } from "../../model/token-issuer.ts";
import { fetchAddressError, fetchAddresses, usesPlainHttp } from "../../model/token-issuer-check.ts";
import type { RuleSide } from "../admin-context.ts";

export interface IssuerFault {
  readonly code: "any_tenant" | "keys_over_http" | "certificate_unchecked" | "ca_alone" | "address_denied";
  readonly message: string;
}

type IsDenied = RuleSide["isAddressDenied"];

/** @param candidate has passed all checks */
export function issuerFaults(candidate: Members, isDenied: IsDenied): readonly IssuerFault[] {
  const value = candidate as unknown as TokenIssuer; // by its schema
  const faults: IssuerFault[] = [];
  const addresses = fetchAddresses(value);
  const fetches = addresses.length > 0;
  faults.push(...deniedFaults(addresses, isDenied));
  if (value.tenants?.includes("*"))
    faults.push({
      code: "any_tenant",
      message: 'tenants ["*"] accepts tokens of every tenant: name those that you mean',
    });
  if (usesPlainHttp(value))
    faults.push({
      code: "keys_over_http",
      message: "keys are fetched over http: whoever is in between can name other keys; use https",
    });
  if (fetches && value.ssl_verify === false)
    faults.push({
      code: "certificate_unchecked",
      message: "ssl_verify false takes keys from whoever answers; set ca instead",
    });
  if (value.ca !== undefined && (value.ssl_verify === false || !fetches))
    faults.push({ code: "ca_alone", message: "ca is without effect: nothing is fetched with certificates checked" });
  return faults;
}

/** Of openid-connect, which says in a plugin what a record says of an issuer. @param path of its configuration */
export function openidFaults(conf: Members, path: string, isDenied: IsDenied): readonly IssuerFault[] {
  const addresses = [own(conf, "discovery"), own(conf, "introspection_endpoint")].filter(
    (one): one is string => typeof one === "string" && !isReference(one),
  );
  const faults = [...deniedFaults(addresses, isDenied)];
  if (addresses.some((address) => fetchAddressError(address, "", false) !== undefined))
    faults.push({
      code: "keys_over_http",
      message:
        "the issuer is called over http: whoever is in between can name other keys, or read its secret; use https",
    });
  if (own(conf, "ssl_verify") === false || own(conf, "ssl_verify") === "no")
    faults.push({ code: "certificate_unchecked", message: "ssl_verify false believes whoever answers for the issuer" });
  return faults.map(({ code, message }) => ({ code, message: `${path}: ${message}` }));
}

/** By number; what names resolve to is looked at when they are called. */
function deniedFaults(addresses: readonly string[], isDenied: IsDenied): readonly IssuerFault[] {
  return addresses.flatMap((address): IssuerFault[] => {
    const host = URL.canParse(address) ? new URL(address).hostname.replace(/^\[|\]$/g, "") : "";
    if (isIP(host) === 0 || !isDenied(host)) return [];
    const message = `${address} is never called: tokens.deny_addresses has ${host}`;
    return [{ code: "address_denied", message }];
  });
}
