/**
 * APIs that verify access tokens by an issuer's JWK Set, each with another library, as their readmes have it:
 * `GET /{library}` with a bearer token is 200 or 401. A process of its own, so that NODE_EXTRA_CA_CERTS names whom it trusts.
 * Arguments: issuer, its jwks_uri, audience, algorithm, seconds that verifiers keep keys, seconds between two fetches.
 */
import { createServer } from "node:http";
import { JwtVerifier } from "aws-jwt-verify";
import { SimpleJwksCache, SimplePenaltyBox } from "aws-jwt-verify/jwk";
import { auth } from "express-oauth2-jwt-bearer";
import buildGetJwks from "get-jwks";
import { createRemoteJWKSet, importSPKI, jwtVerify } from "jose";
import jwksClient from "jwks-rsa";

const [issuer, jwksUri, audience, algorithm, maxAge, cooldown] = process.argv.slice(2);
const [cacheMaxAge, cooldownDuration] = [Number(maxAge) * 1_000, Number(cooldown) * 1_000];
const expected = { issuer, audience, typ: "at+jwt", algorithms: [algorithm] };
const headerOf = (token) => JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString());

const keySet = createRemoteJWKSet(new URL(jwksUri), { cacheMaxAge, cooldownDuration });
const client = jwksClient({ jwksUri, cache: true, cacheMaxAge });
const jwks = buildGetJwks({ ttl: cacheMaxAge, issuersWhitelist: [issuer] });
const bearer = auth({
  issuerBaseURL: issuer,
  audience,
  tokenSigningAlg: algorithm,
  strict: true,
  cacheMaxAge,
  cooldownDuration,
});
const penaltyBox = new SimplePenaltyBox({ waitSeconds: Number(cooldown) });
const aws = JwtVerifier.create({ issuer, audience, jwksUri }, { jwksCache: new SimpleJwksCache({ penaltyBox }) });

/** Each throws at a token that is not good. */
const VERIFIERS = {
  jose: (token) => jwtVerify(token, keySet, expected),
  "jwks-rsa": async (token) => {
    const key = await client.getSigningKey(headerOf(token).kid);
    return jwtVerify(token, await importSPKI(key.getPublicKey(), algorithm), expected);
  },
  "get-jwks": async (token) => {
    const { kid, alg } = headerOf(token);
    const pem = await jwks.getPublicKey({ domain: issuer, alg, kid });
    return jwtVerify(token, await importSPKI(pem, algorithm), expected);
  },
  // What Express adds to a request, as far as it is looked at.
  "express-oauth2-jwt-bearer": (_token, request) =>
    new Promise((resolve, reject) => {
      const names = {
        is: () => false,
        protocol: "http",
        get: (name) => request.headers[name.toLowerCase()],
        query: {},
      };
      bearer(Object.assign(request, names), {}, (error) => (error ? reject(error) : resolve()));
    }),
  "aws-jwt-verify": (token) => aws.verify(token),
};

const server = createServer(async (request, response) => {
  try {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
    await VERIFIERS[request.url.slice(1)](token, request);
    response.end("ok");
  } catch (error) {
    response.writeHead(401).end(`${error}`);
  }
});
server.keepAliveTimeout = 600_000;
server.listen(0, "127.0.0.1", () =>
  process.stdout.write(`${JSON.stringify({ port: server.address().port, names: Object.keys(VERIFIERS) })}\n`),
);
