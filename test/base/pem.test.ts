import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { pemCure, withCure } from "../../src/base/pem.ts";
import { checkSsl } from "../../src/model/ssl-check.ts";
import { jwtCredential } from "../../src/plugins/jwt-auth/credential.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";

const pair = () =>
  generateKeyPairSync("ec", {
    namedCurve: "prime256v1",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
const ours = pair();

const locked = (pem: string): string =>
  createPrivateKey(pem).export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "p" }).toString();

/** Ways in which a PEM text is broken on its way through shells, JSON and environment variables, and what cures it. */
const BROKEN: readonly (readonly [string, (pem: string) => string, RegExp])[] = [
  ["with literal \\n", (pem) => pem.trim().replaceAll("\n", "\\n"), /two characters "\\n"/],
  ["on one line with blanks", (pem) => pem.trim().replaceAll("\n", " "), /stands on one line/],
  ["on one line without", (pem) => pem.trim().replaceAll("\n", ""), /stands on one line/],
  ["whose lines are indented", (pem) => pem.trim().replaceAll("\n", "\n    "), /lines are indented/],
  ["without its last line", (pem) => pem.slice(0, pem.indexOf("-----END")), /no line -----END/],
  ["with a passphrase", locked, /passphrase/],
  ["of which only the base64 is left", (pem) => pem.replace(/-----[^-]+-----\n?/g, ""), /no line -----BEGIN/],
];

test.each(BROKEN)("a private key %s is refused with the cure", (_says, damage, cure) => {
  const conf = { key: "k", algorithm: "ES256", public_key: ours.publicKey, private_key: damage(ours.privateKey) };
  const error = jwtCredential.check?.(conf as never, { compat: "default" }) ?? "";
  expect(error).toMatch(/^private_key cannot be read as a PEM key/);
  expect(error).toMatch(cure);
  expect(jwtCredential.check?.(conf as never)).toBeUndefined(); // a stored one still verifies

  const ssl = checkSsl({ sni: "a.test", cert: CERTIFICATE, key: damage(PRIVATE_KEY) }, (text) => text) ?? "";
  expect(ssl).toMatch(/^failed to parse key: PEM_read_bio_PrivateKey\(\) failed/);
  expect(ssl).toMatch(cure);
});

test("a public key and a certificate too", () => {
  for (const [, damage, cure] of BROKEN.slice(0, 3)) {
    const conf = { key: "k", algorithm: "ES256", public_key: damage(ours.publicKey) };
    expect(jwtCredential.check?.(conf as never)).toMatch(cure);
    expect(checkSsl({ sni: "a.test", cert: damage(CERTIFICATE), key: PRIVATE_KEY }, () => undefined)).toMatch(cure);
  }
});

test("every certificate of a chain is read", () => {
  const chain = `${CERTIFICATE.trim()}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`;
  expect(checkSsl({ sni: "a.test", cert: chain, key: PRIVATE_KEY }, () => undefined)).toMatch(/^failed to parse cert/);
});

test("a private key of another pair is refused when it is written", () => {
  const conf = { key: "k", algorithm: "ES256", public_key: ours.publicKey, private_key: pair().privateKey };
  expect(jwtCredential.check?.(conf as never, { compat: "default" })).toBe("private_key does not belong to public_key");
});

test("what is not wrong in a known way gets no cure, and no cure holds a part of the text", () => {
  expect(pemCure(ours.privateKey)).toBeUndefined();
  expect(withCure("no", ours.privateKey)).toBe("no");
  const body = ours.privateKey.split("\n")[1] ?? "";
  for (const [, damage] of BROKEN) expect(pemCure(damage(ours.privateKey))).not.toContain(body.slice(0, 10));
});
