/**
 * What the TLS handshake of a connection has shown, and which requests may come over it: hosts whose certificate record
 * verifies clients are reached only under their own server name and by clients that have proved themselves.
 * Promise: judged against the records of now, not of the handshake: a withdrawn authority counts at the next request.
 * Source: docs/spec/proxy.md section 3; APISIX 3.18's verify_https_client in init.lua.
 */
import type { DetailedPeerCertificate, TLSSocket } from "node:tls";
import { ClientCertificate } from "../../plugin/client-certificate.ts";
import { type OwnAnswer, pageAnswer } from "../gateway-pages.ts";
import type { ClientRules } from "./server-certificate.ts";
import type { TlsCertificates } from "./tls-certificates.ts";

/** A client certificate that was verified in the handshake. */
interface ClientProof {
  /** SHA-256 fingerprint of the authority its chain ends in. */
  readonly authority: string;
  /** Certificates between the client's and that. */
  readonly intermediates: number;
}

const NO_CERTIFICATE: OwnAnswer = pageAnswer("client_certificate");
const CLOSED_NAME: OwnAnswer = pageAnswer("client_certificate_record");
const OTHER_NAME: OwnAnswer = pageAnswer("sni_mismatch");

export class TlsConnection {
  /** Server name the certificate was chosen by: the client's, else the fallback. */
  readonly name: string;
  /** Verified or not. */
  readonly clientCertificate: ClientCertificate | undefined;
  readonly #certificates: TlsCertificates;
  readonly #proof: ClientProof | undefined;

  /** @param shown the client's certificate, DER */
  constructor(
    certificates: TlsCertificates,
    name: string,
    { proof, shown }: { readonly proof: ClientProof | undefined; readonly shown: Buffer | undefined },
  ) {
    this.#certificates = certificates;
    this.name = name;
    this.#proof = proof;
    this.clientCertificate =
      shown && new ClientCertificate(shown, () => this.#satisfies(certificates.find(name)?.client));
  }

  /**
   * @param host of the request, in lower case without port
   * @param path normalised
   * @param otherPaths what looser readers could take it for
   * @returns why the request is refused. Cost: nothing while no record verifies clients, else one look-up.
   */
  refusal(host: string, path: string, otherPaths: readonly string[] = []): OwnAnswer | undefined {
    if (!this.#certificates.verifiesClients) return undefined;
    const found = this.#certificates.find(host);
    const rules = found?.client;
    if (!rules) return undefined;
    if (found.server === undefined) return CLOSED_NAME;
    if (rules.isOptional) return undefined;
    if (!this.#satisfies(rules)) {
      const skips = rules.skips(path) && otherPaths.every((other) => rules.skips(other));
      return skips ? undefined : NO_CERTIFICATE;
    }
    return host === this.name ? undefined : OTHER_NAME;
  }

  /** Whether a certificate record lists this very name; a pattern is no name. */
  isNamed(host: string): boolean {
    return this.#certificates.find(host)?.names.includes(host) === true;
  }

  #satisfies(rules: ClientRules | undefined): boolean {
    const proof = this.#proof;
    return (
      proof !== undefined &&
      rules !== undefined &&
      rules.authorities.has(proof.authority) &&
      proof.intermediates <= rules.depth
    );
  }
}

/** What a handshake shows of the client. @param asks whether the record asks for a certificate */
export function readClient(
  socket: TLSSocket,
  asks: boolean,
): { readonly proof: ClientProof | undefined; readonly shown: Buffer | undefined } {
  if (!asks) return NOTHING_SHOWN;
  return { proof: readClientProof(socket), shown: socket.getPeerX509Certificate()?.raw };
}

const NOTHING_SHOWN = Object.freeze({ proof: undefined, shown: undefined });
const CHAIN_MAX = 100; // OpenSSL's own limit

/** @returns undefined when the client sent no certificate, or one that OpenSSL did not verify */
function readClientProof(socket: TLSSocket): ClientProof | undefined {
  // `authorized` alone is not enough: Node sets it on resumed sessions without any certificate (seen in 20.20).
  if (!socket.authorized) return undefined;
  let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  let authority: string | undefined;
  let length = 0;
  while (certificate?.fingerprint256 !== undefined && certificate.fingerprint256 !== authority) {
    authority = certificate.fingerprint256;
    if (++length > CHAIN_MAX) return undefined;
    certificate = certificate.issuerCertificate;
  }
  return authority === undefined ? undefined : { authority, intermediates: Math.max(0, length - 2) };
}
