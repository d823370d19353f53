/**
 * The methods by which clients prove who they are (`token_endpoint_auth_method`): one line each, served, registered and
 * named in the metadata by the same names. Source: docs/spec/tokens.md section 7.2.
 */
import { clientCertificateOf } from "../../plugin/client-certificate.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import type { AuthMethod } from "../oauth2-client/client-schema.ts";
import { isSecret } from "../oauth2-client/client-secrets.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import type { FirstUse } from "../shared/once.ts";
import { signsAssertion } from "./client-assertion.ts";

/** What a request says of its client, and how. */
export interface Claimed {
  /** `bare`: by its `client_id` alone; `unreadable`: no method reads it. */
  readonly way: "basic" | "post" | "assertion" | "bare" | "unreadable";
  readonly id: string;
  /** Or the assertion; "" where the way has none. */
  readonly secret: string;
}

export interface Proof {
  readonly view: RequestView;
  readonly claimed: Claimed;
  readonly server: AuthorizationServer;
  readonly nowSeconds: number;
  /** `compat: strict` */
  readonly isStrict: boolean;
  /** Whether it was not shown before, here or in the cluster. @param seconds how long it could be shown again */
  isFirst(id: string, seconds: number): FirstUse | Promise<FirstUse>;
}

/** "unchecked": it cannot be found out now. */
export type Proven = boolean | "unchecked";

interface ClientMethod {
  /** How requests of this method say who they are; only clients registered for it are proven by it. */
  readonly way: Claimed["way"];
  /** @param client undefined: there is none that could use it; then the same work is done, and the result is not read */
  proves(proof: Proof, client: ClientData | undefined): Proven | Promise<Proven>;
}

const CLIENT_METHODS: Readonly<Record<AuthMethod, ClientMethod>> = {
  client_secret_basic: { way: "basic", proves: knowsSecret },
  client_secret_post: { way: "post", proves: knowsSecret },
  tls_client_auth: { way: "bare", proves: holdsVerified },
  self_signed_tls_client_auth: { way: "bare", proves: holdsCertificate },
  private_key_jwt: { way: "assertion", proves: signsAssertion },
  none: { way: "bare", proves: () => false }, // what it shows instead: token-exchange.ts
};

const METHODS = Object.entries(CLIENT_METHODS) as readonly (readonly [AuthMethod, ClientMethod])[];

/** The method of a client that claims to be who it is in this way; of an unknown one the first that works so. */
export function methodFor(
  way: Claimed["way"],
  client: ClientData | undefined,
): readonly [name: AuthMethod, method: ClientMethod] | undefined {
  const registered = METHODS.find(([name, method]) => name === client?.method && method.way === way);
  return registered ?? METHODS.find(([, method]) => method.way === way);
}

function knowsSecret({ claimed, nowSeconds }: Proof, client: ClientData | undefined): boolean {
  return isSecret(claimed.secret, client?.secrets ?? [], nowSeconds);
}

/** RFC 8705 section 2.1: the name in a certificate that an authority vouches for. */
function holdsVerified(proof: Proof, client: ClientData | undefined): boolean {
  return holdsCertificate(proof, client) && clientCertificateOf(proof.view)?.isVerified() === true;
}

/** RFC 8705 section 2.2: who holds the key is who it is. */
function holdsCertificate({ view }: Proof, client: ClientData | undefined): boolean {
  const certificate = clientCertificateOf(view)?.parsed();
  return certificate !== undefined && client?.fitsCertificate?.(certificate) === true;
}
