/**
 * A real issuer of access tokens as a process of its own: oidc-provider with `client_credentials` for one client and
 * JWT access tokens for any resource. Started with one argument of JSON: {port, jwks, algorithm}; says "ready".
 */
import Provider from "oidc-provider";

const { port, jwks, algorithm } = JSON.parse(process.argv[2]);

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

const server = provider.listen(port, "127.0.0.1", () => console.log("ready"));
process.once("SIGTERM", () => {
  server.close();
  server.closeAllConnections();
});
