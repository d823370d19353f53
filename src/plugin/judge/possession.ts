/**
 * Whether the caller holds what its token is bound to: step 10 of the judgement.
 * Promise: a bound token without its proof is refused under whatever scheme it comes, and a proof is no substitute for a
 * binding. Sources: RFC 9449 section 7, RFC 8705 section 3, docs/spec/tokens.md section 8.
 */
import { clientCertificateOf } from "../client-certificate.ts";
import type { DpopProof } from "./dpop-proof.ts";
import type { Court, Presented, TokenPolicy } from "./judge.ts";
import type { TokenRefusal } from "./judge-steps.ts";
import type { AccessToken } from "./judged-token.ts";
import { outerUrl } from "./outer-url.ts";

interface Possession {
  readonly why?: TokenRefusal;
  /** For the operator. */
  readonly facts?: Readonly<Record<string, unknown>>;
  readonly proof?: DpopProof;
}

export const NOTHING_NEEDED: Possession = Object.freeze({});
const PROOF_MISSING: Possession = Object.freeze({ why: "proof_missing" });
const CERTIFICATE_MISMATCH: Possession = Object.freeze({ why: "certificate_mismatch" });
const CERTIFICATE_MISSING: Possession = Object.freeze({ why: "certificate_missing" });

export function judgePossession(
  token: AccessToken,
  presented: Presented,
  policy: Pick<TokenPolicy, "needsProof" | "needsCertificate">,
  court: Court,
): Possession {
  const { key, certificate } = token.binding ?? {};
  if (key === undefined && (presented.asProof || policy.needsProof)) return PROOF_MISSING;
  if (certificate === undefined && policy.needsCertificate) return CERTIFICATE_MISSING;
  if (token.binding === undefined) return NOTHING_NEEDED;
  // Bound to what nobody here understands.
  if (key === undefined && certificate === undefined) return PROOF_MISSING;
  const shown = certificate === undefined ? NOTHING_NEEDED : shownBy(certificate, presented);
  return key === undefined || shown.why !== undefined ? shown : provenBy(key, presented, court);
}

function shownBy(thumbprint: string, { view }: Presented): Possession {
  const shown = view && clientCertificateOf(view);
  if (shown === undefined) return CERTIFICATE_MISSING;
  return shown.thumbprint === thumbprint ? NOTHING_NEEDED : CERTIFICATE_MISMATCH;
}

function provenBy(thumbprint: string, { text, asProof, view }: Presented, court: Court): Possession {
  const lines = view === undefined || !asProof ? [] : view.headers.getAll("dpop");
  if (view === undefined || court.judgeProof === undefined || lines.length === 0) return PROOF_MISSING;
  const judged = court.judgeProof(lines, {
    ...{ method: view.head.method, url: outerUrl(view), thumbprint, token: text },
    nowSeconds: court.nowMs() / 1_000,
  });
  return typeof judged === "string" ? { why: "proof_invalid", facts: { wrong: judged } } : { proof: judged };
}
