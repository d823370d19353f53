/**
 * Clients with certificates at the token endpoint: who they are, and what their tokens are bound to. Sources: RFC 8705,
 * docs/spec/tokens.md sections 5.3 and 8.
 */
import { createHash, X509Certificate } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { ClientCertificate } from "../../src/plugin/client-certificate.ts";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import { answerHeader } from "../../src/plugin/testkit/testkit.ts";
import type { ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { type Authority, openAuthority } from "../support/authority.ts";
import {
  basic,
  FORM,
  GRANT,
  ISSUER,
  json,
  NOW,
  openWorld,
  SECRET,
  type World,
} from "../support/authorization-server.ts";
import { dpopKey, proofFor } from "../support/dpop.ts";

const payloadOf = (answer: Answer): Record<string, unknown> =>
  JSON.parse(Buffer.from(String(json(answer)["access_token"]).split(".")[1] ?? "", "base64url").toString());

describe("certificates at the token endpoint (RFC 8705)", () => {
  let authority: Authority;
  let mine: X509Certificate;
  let theirs: X509Certificate;
  beforeAll(() => {
    authority = openAuthority();
    mine = new X509Certificate(authority.issue(["batch.test", "DNS:b.test", "IP:192.0.2.7"]).cert);
    theirs = new X509Certificate(authority.issue(["other.test"]).cert);
    return () => authority.close();
  });
  const showing = (certificate: X509Certificate | undefined, verified = true) => ({
    connection: { clientCertificate: certificate && new ClientCertificate(certificate.raw, () => verified) },
  });
  const asking = (world: World, input: ViewInput, form = `${GRANT}&client_id=batch`) =>
    world.ask({
      ...{ method: "POST", target: "/oauth2/token", headers: { "content-type": FORM }, body: form },
      ...input,
    });
  const BY_NAME = { token_endpoint_auth_method: "tls_client_auth", client_secret: undefined };

  test.each([
    { tls_client_auth_subject_dn: "CN=batch.test" },
    { tls_client_auth_subject_dn: "cn=b\\61tch.test" },
    { tls_client_auth_san_dns: "B.test" },
    { tls_client_auth_san_ip: "192.0.2.7" },
  ])(
    "a client is known by $tls_client_auth_subject_dn$tls_client_auth_san_dns$tls_client_auth_san_ip",
    async (name) => {
      const world = await openWorld({ client: { ...BY_NAME, ...name } });
      expect((await asking(world, showing(mine))).status).toBe(200);
      const refused = [
        asking(world, showing(theirs)),
        asking(world, showing(mine, false)),
        asking(world, showing(undefined)),
        asking(world, showing(mine), `${GRANT}&client_id=other`),
        asking(world, showing(mine), `${GRANT}&client_id=batch&client_secret=${SECRET}`),
      ];
      for (const answer of await Promise.all(refused)) {
        expect([answer.status, answer.reason]).toEqual([401, "invalid_client"]);
        expect(answerHeader(answer, "www-authenticate")).toBeUndefined();
      }
    },
  );

  test.each([
    { tls_client_auth_subject_dn: "CN=batch.tes" },
    { tls_client_auth_subject_dn: "CN=batch.test,O=x" },
    { tls_client_auth_subject_dn: "O=batch.test" },
    { tls_client_auth_san_dns: "batch" },
    { tls_client_auth_san_dns: "b.test, IP Address:192.0.2.7" },
    { tls_client_auth_san_uri: "b.test" },
    { tls_client_auth_san_email: "b.test" },
    { tls_client_auth_san_ip: "192.0.2.70" },
  ])("another name is nobody: %j", async (name) => {
    const world = await openWorld({ client: { ...BY_NAME, ...name } });
    expect((await asking(world, showing(mine))).reason).toBe("invalid_client");
  });

  test("a self-signed one is known by its key, whoever vouches for it", async () => {
    const keys = [mine.publicKey.export({ format: "jwk" })];
    const world = await openWorld({
      client: { token_endpoint_auth_method: "self_signed_tls_client_auth", client_secret: undefined, jwks: { keys } },
    });
    expect((await asking(world, showing(mine, false))).status).toBe(200);
    expect((await asking(world, showing(theirs, true))).reason).toBe("invalid_client");
  });

  test("the token is bound to the certificate, and to the key of a proof beside it", async () => {
    const world = await openWorld({ client: { tls_client_certificate_bound_access_tokens: true } });
    const headers = { "content-type": FORM, ...basic("batch", SECRET) };
    const bare = await asking(world, { ...showing(undefined), headers });
    expect([bare.status, bare.reason, json(bare)["error"]]).toEqual([400, "certificate_missing", "invalid_request"]);
    const thumbprint = createHash("sha256").update(mine.raw).digest("base64url");
    const bound = await asking(world, { ...showing(mine, false), headers });
    expect([json(bound)["token_type"], payloadOf(bound)["cnf"]]).toEqual(["Bearer", { "x5t#S256": thumbprint }]);
    const proof = proofFor({ method: "POST", url: `${ISSUER}/oauth2/token`, now: NOW });
    const both = await asking(world, { ...showing(mine), headers: { ...headers, DPoP: proof } });
    expect(payloadOf(both)["cnf"]).toEqual({ jkt: dpopKey().jkt, "x5t#S256": thumbprint });
  });

  test.each([
    { conf: { ...BY_NAME }, want: "tls_client_auth needs exactly one of" },
    { conf: { ...BY_NAME, tls_client_auth_san_dns: "a", tls_client_auth_san_ip: "::1" }, want: "needs exactly one of" },
    { conf: { ...BY_NAME, tls_client_auth_subject_dn: "batch" }, want: "no name as RFC 4514 writes it" },
    { conf: { ...BY_NAME, tls_client_auth_subject_dn: "CN=a,,O=b" }, want: "no name as RFC 4514 writes it" },
    { conf: { ...BY_NAME, tls_client_auth_subject_dn: "CN=#04024869" }, want: "no name as RFC 4514 writes it" },
    { conf: { ...BY_NAME, tls_client_auth_san_ip: "1.2.3" }, want: "is no IP address" },
    {
      conf: { token_endpoint_auth_method: "self_signed_tls_client_auth", client_secret: undefined },
      want: "needs jwks",
    },
    { conf: { jwks: { keys: [{ kty: "oct", k: "AA" }] } }, want: "a symmetric key" },
  ])("$want", async ({ conf, want }) => {
    await expect(openWorld({ client: conf })).rejects.toThrow(want);
  });
});
