/**
 * What a token is bound to: the key of the DPoP proof that its client shows at the token endpoint, and its certificate.
 * Promise: a client that is registered for bound tokens gets no other; a proof that is sent is never ignored.
 * Sources: RFC 9449 section 5, RFC 8705 section 3, docs/spec/tokens.md section 8.
 */
import { clientCertificateOf } from "../../plugin/client-certificate.ts";
import { outerUrl } from "../../plugin/judge/outer-url.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import type { Proofs } from "../shared/dpop-proofs.ts";
import { errorAnswer, unavailable } from "./oauth-answers.ts";
import { TOKEN_PATH } from "./server-documents.ts";

export interface TokenBinding {
  /** Thumbprint of the client's key. */
  readonly jkt?: string;
  /** SHA-256 of its certificate. */
  readonly "x5t#S256"?: string;
}

export const NOT_BOUND: TokenBinding = Object.freeze({});
const PROOF_MISSING = errorAnswer(
  400,
  "invalid_dpop_proof",
  "The client gets tokens with a DPoP proof only",
  [],
  "proof_missing",
);
const NO_CERTIFICATE = errorAnswer(
  400,
  "invalid_request",
  "The client gets tokens with its certificate only",
  [],
  "certificate_missing",
);
const PROOF_INVALID = errorAnswer(400, "invalid_dpop_proof", "The DPoP proof is invalid", [], "proof_invalid");
const PROOF_UNCHECKED = unavailable(503, 1, "proof_unchecked");
const PROOF_REPLAYED = errorAnswer(400, "invalid_dpop_proof", "The DPoP proof was used before", [], "proof_replayed");

function nonceWanted(nonce: string): Answer {
  return errorAnswer(400, "use_dpop_nonce", "The DPoP proof needs this nonce", ["DPoP-Nonce", nonce], "nonce_wanted");
}

/** @returns binds the token of a request, or gives the answer that refuses it */
export function openTokenBinding(
  env: NodeEnv,
  proofs: Proofs,
): (view: RequestView, client: ClientData, server: AuthorizationServer) => Promise<TokenBinding | Answer> {
  const counted = (answer: Answer): Answer => {
    proofs.count(answer.reason);
    return answer;
  };
  return async (view, client, server) => {
    const certificate = client.needsCertificate ? clientCertificateOf(view)?.thumbprint : undefined;
    if (client.needsCertificate && certificate === undefined) return NO_CERTIFICATE;
    const toCertificate = certificate === undefined ? NOT_BOUND : { "x5t#S256": certificate };
    const lines = view.headers.getAll("dpop");
    if (lines.length === 0) return client.needsProof ? counted(PROOF_MISSING) : toCertificate;
    const proof = proofs.judge(lines, {
      ...{ method: view.head.method, url: outerUrl(view), otherUrl: `${server.terms.issuer}${TOKEN_PATH}` },
      ...{ thumbprint: undefined, token: undefined, nowSeconds: env.clock.nowMs() / 1_000 },
      acceptsNonce: server.dpopNonces?.accepts,
    });
    const nonce = proof === "nonce" ? server.dpopNonces?.current() : undefined;
    if (nonce !== undefined) return counted(nonceWanted(nonce));
    if (typeof proof === "string") return counted(PROOF_INVALID);
    const use = await proofs.isFirst(proof);
    if (use === "replayed") return counted(PROOF_REPLAYED);
    if (use === "unchecked") return counted(PROOF_UNCHECKED);
    proofs.count("ok");
    return { jkt: proof.thumbprint, ...toCertificate };
  };
}
