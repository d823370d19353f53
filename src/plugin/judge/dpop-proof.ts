/**
 * A proof that the caller holds a private key (RFC 9449): read strictly, judged against the request that brings it.
 * Promise: pure but for the memory of imported keys, which is bounded; a key is imported only where its thumbprint is the
 * wanted one; nothing throws. Whether a proof was shown before is not asked here. Source: docs/spec/tokens.md section 8.
 */
import { hash } from "node:crypto";
import { keyPairVerifier, type Verifier } from "../../base/jose/algorithms.ts";
import { readJwk, thumbprintOf } from "../../base/jose/jwk.ts";
import { type Claims, openCompactReader, readTokenHeader } from "../../base/jose/token.ts";
import { isMembers } from "../../base/json/members.ts";
import { isSameUrl } from "./outer-url.ts";

/** In the order of preference, as challenges and metadata name them. */
export const DPOP_ALGORITHMS = ["ES256", "EdDSA", "RS256", "PS256"] as const;
export const PROOF_AGE_SECONDS = 60;
export const PROOF_AHEAD_SECONDS = 5;

/** What a proof has to be about. */
interface ProofDemand {
  readonly method: string;
  /** What the caller asked for; undefined: nobody knows. */
  readonly url: string | undefined;
  /** As good as `url`: how the configuration calls the same. */
  readonly otherUrl?: string | undefined;
  /** Thumbprint of its key; undefined: any key. */
  readonly thumbprint: string | undefined;
  /** The access token that it comes with. */
  readonly token: string | undefined;
  readonly nowSeconds: number;
  /** undefined: none is wanted */
  readonly acceptsNonce?: ((nonce: unknown) => boolean) | undefined;
}

/** A good one. */
export interface DpopProof {
  readonly thumbprint: string;
  /** `jti`. */
  readonly id: string;
}

/** What is wrong first. */
type ProofFault =
  | "repeated"
  | "form"
  | "typ"
  | "alg"
  | "jwk"
  | "thumbprint"
  | "signature"
  | "htm"
  | "htu"
  | "iat"
  | "ath"
  | "jti"
  | "nonce";

/** @param lines of the header DPoP, at least one */
export type JudgeProof = (lines: readonly string[], demand: ProofDemand) => DpopProof | ProofFault;

/** Spec: importing costs as much as verifying. */
const KEYS_KEPT = 10_000;
/** The header of an RSA key of 4096 bits has about 1,050. */
const HEADER_MAX_CHARS = 1_536;
const JTI_MAX_CHARS = 128;
/** What RFC 9864 calls EdDSA with that curve: current clients write it. */
const ED25519 = "Ed25519";
const ACCEPTED: ReadonlySet<string> = new Set(DPOP_ALGORITHMS);

/** Remembers the keys that it has imported. Cost for a known key: the verification and about 5 µs. */
export function openProofJudge(): JudgeProof {
  const read = openCompactReader(KEYS_KEPT, HEADER_MAX_CHARS, readHeader);
  return ([line = "", ...more], demand) => {
    if (more.length > 0) return "repeated";
    const jws = read(line);
    if (jws === undefined) return "form";
    const { header, payload, signingInput, signature } = jws;
    if (typeof header === "string") return header;
    if (demand.thumbprint !== undefined && header.thumbprint !== demand.thumbprint) return "thumbprint";
    const verifier = header.verifier();
    if (verifier === undefined) return "jwk";
    if (!verifier.verify(signingInput, signature)) return "signature";
    return claimFault(payload, demand) ?? { thumbprint: header.thumbprint, id: payload["jti"] as string }; // checked
  };
}

class ProofHeader {
  readonly thumbprint: string;
  readonly #jwk: Claims;
  readonly #algorithm: string;
  /** null: there can be none. */
  #verifier: Verifier | null | undefined;

  constructor(jwk: Claims, algorithm: string) {
    this.thumbprint = thumbprintOf(jwk);
    this.#jwk = jwk;
    this.#algorithm = algorithm;
  }

  verifier(): Verifier | undefined {
    if (this.#verifier === undefined) {
      const key = readJwk(this.#jwk, new Set([this.#algorithm]));
      const algorithm = typeof key === "string" ? undefined : key.algorithms[0];
      this.#verifier = typeof key === "string" || algorithm === undefined ? null : keyPairVerifier(algorithm, key.key);
    }
    return this.#verifier ?? undefined;
  }
}

function readHeader(members: Claims): ProofHeader | ProofFault {
  const { algorithm: named = "", type } = readTokenHeader(members);
  if (type !== "dpop+jwt") return "typ";
  const isEd25519 = named === ED25519;
  const algorithm = isEd25519 ? "EdDSA" : named;
  if (!ACCEPTED.has(algorithm)) return "alg";
  const jwk = Object.hasOwn(members, "jwk") ? members["jwk"] : undefined;
  if (!isMembers(jwk)) return "jwk";
  const key = jwk as Claims;
  if (!isEd25519) return new ProofHeader(key, algorithm);
  const { alg, ...rest } = key;
  return key["crv"] !== ED25519 || (alg !== undefined && alg !== ED25519) ? "jwk" : new ProofHeader(rest, algorithm);
}

function claimFault(claims: Claims, demand: ProofDemand): ProofFault | undefined {
  const { htm, htu, iat, ath, jti, nonce } = claims;
  if (htm !== demand.method) return "htm";
  if (typeof htu !== "string" || !isOneOf(htu, demand)) return "htu";
  if (typeof iat !== "number") return "iat";
  const age = demand.nowSeconds - iat;
  if (!(age <= PROOF_AGE_SECONDS && age >= -PROOF_AHEAD_SECONDS)) return "iat";
  if (demand.token !== undefined && ath !== hash("sha256", demand.token, "base64url")) return "ath";
  if (typeof jti !== "string" || jti === "" || jti.length > JTI_MAX_CHARS) return "jti";
  return demand.acceptsNonce === undefined || demand.acceptsNonce(nonce) ? undefined : "nonce";
}

function isOneOf(htu: string, { url, otherUrl }: ProofDemand): boolean {
  return (url !== undefined && isSameUrl(htu, url)) || (otherUrl !== undefined && isSameUrl(htu, otherUrl));
}
