/**
 * What is suspicious about an issuer of tokens: each fault says who could make tokens that are then accepted.
 */
import type { TokenIssuer } from "../../model/token-issuer.ts";
import { fetchAddresses, usesPlainHttp } from "../../model/token-issuer-check.ts";
import type { Members } from "../read/stored-record.ts";

export interface IssuerFault {
  readonly code: "any_tenant" | "keys_over_http" | "certificate_unchecked" | "ca_alone";
  readonly message: string;
}

/** @param candidate has passed all checks */
export function issuerFaults(candidate: Members): readonly IssuerFault[] {
  const value = candidate as unknown as TokenIssuer; // by its schema
  const faults: IssuerFault[] = [];
  const fetches = fetchAddresses(value).length > 0;
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
