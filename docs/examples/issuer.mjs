/**
 * A small real issuer of access tokens: oidc-provider with `client_credentials` for one client, orders-service, and JWT
 * access tokens for any resource. `node docs/examples/issuer.mjs` makes a new key at each start; one argument of JSON,
 * {port, jwks, algorithm}, says it otherwise. For trying and tests: nothing is kept.
 */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import Provider from "oidc-provider";

const given = JSON.parse(process.argv[2] ?? "{}");
const { port = 4000, algorithm = "ES256", jwks = { keys: [newKey()] } } = given;

function newKey() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: randomBytes(6).toString("hex"), use: "sig", alg: "ES256" };
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks,
  clients: [
    {
      client_id: "orders-service",
      client_secret: "a-secret-of-the-orders-service-0123456789",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: algorithm,
    },
  ],
  cookies: { keys: ["only for browsers, which never come"] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_context, resource) => ({
        scope: "orders.read orders.write",
        audience: resource,
        accessTokenTTL: 600,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: algorithm } },
      }),
    },
  },
});

const server = provider.listen(port, "127.0.0.1", () => {
  process.stdout.write(`issuer http://127.0.0.1:${port}\n`);
});
process.once("SIGTERM", () => {
  server.close();
  server.closeAllConnections();
});
