/**
 * oidc-provider as a process: started with keys, asked for tokens, started again with others.
 */
import { generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { ROOT, type Running, run, until } from "./process.ts";

export type OidcAlgorithm = "ES256" | "RS256";
export type OidcKey = Readonly<Record<string, unknown>> & { readonly kid: string };

/** A private JWK. */
export function oidcKey(kid: string, algorithm: OidcAlgorithm = "ES256"): OidcKey {
  const { privateKey } =
    algorithm === "ES256"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("rsa", { modulusLength: 2_048 });
  return { ...privateKey.export({ format: "jwk" }), kid, use: "sig", alg: algorithm };
}

export interface OidcIssuer {
  readonly url: string;
  /** Ends the process, if there is one, and starts it with these keys; it signs with the first of the algorithm. */
  start(keys: readonly OidcKey[], algorithm?: OidcAlgorithm): Promise<void>;
  stop(): Promise<void>;
  /** An access token of the client `orders-service`. */
  token(resource: string, scope?: string): Promise<string>;
}

export async function openOidcIssuer(): Promise<OidcIssuer> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let running: Running | undefined;
  const stop = async (): Promise<void> => {
    await running?.stop();
    running = undefined;
  };
  return {
    url,
    stop,
    async start(keys, algorithm = "ES256") {
      await stop();
      const options = JSON.stringify({ port, jwks: { keys }, algorithm });
      const started = run(process.execPath, [join(ROOT, "docs/examples/issuer.mjs"), options]);
      running = started;
      await until("the issuer answers", async () => (await fetch(`${url}/jwks`)).ok);
    },
    async token(resource, scope = "orders.read") {
      const answer = await fetch(`${url}/token`, {
        method: "POST",
        headers: { authorization: `Basic ${Buffer.from(`orders-service:${CLIENT_SECRET}`).toString("base64")}` },
        body: new URLSearchParams({ grant_type: "client_credentials", resource, scope }),
      });
      const { access_token: token } = (await answer.json()) as { access_token?: string };
      if (token === undefined) throw new Error(`the issuer answers ${answer.status}`);
      return token;
    },
  };
}

/** As docs/examples/issuer.mjs has it. */
const CLIENT_SECRET = "a-secret-of-the-orders-service-0123456789";
