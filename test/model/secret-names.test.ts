import { expect, test } from "vitest";
import { hideSecrets, isSecretName } from "../../src/model/secret-names.ts";

test.each([
  ...["Authorization", "proxy-authorization", "Cookie", "Set-Cookie", "cookie2", "X-Auth", "x_auth", "X-Auth-Key"],
  ...["X-Internal-Auth", "xAuth", "X-API-Key", "apikey", "api_key", "apiKey", "accessKey", "key", "X-Key", "token"],
  ...[
    "refresh_token",
    "jwt",
    "password",
    "passwd",
    "pwd",
    "db_pass",
    "userPass",
    "client_secret",
    "X-Signature",
    "sig",
  ],
  ...["code", "sid", "session", "X-Session-Id", "PHPSESSION", "private_key", "credentials", "X-Amz-Credential", "otp"],
])("%s names a secret", (name) => {
  expect(isSecretName(name)).toBe(true);
});

test.each([
  ...["host", "accept", "content-type", "uri", "X-Forwarded-For", "x-request-id", "keyword", "monkey", "author"],
  ...["passage", "compass-direction", "timeout", "design", "encode", "status_codes_", "X-Team", "username", "key1of"],
])("%s does not", (name) => {
  expect(isSecretName(name)).toBe(false);
});

test.each([
  ["https://u:hidden@h:1/x", "https://*@h:1/x"],
  ["https://u:hid@den@h/x?a=1", "https://*@h/x?a=1"],
  ["redis://:hidden@h/0", "redis://*@h/0"],
  ["//hidden@h", "//*@h"],
  ["u:hidden@h:6379", "*@h:6379"],
  ["/health?api_key=hidden&x=1", "/health?api_key=*&x=1"],
  ["/health?x=1&api%5Fkey=hidden", "/health?x=1&api%5Fkey=*"],
  ["https://h/p?token=hidden#f", "https://h/p?token=*#f"],
  ["a=1; session=hidden; b=2", "a=1; session=* b=2"],
  ["host=h user=u password=hidden", "host=h user=u password=*"],
  ["Cookie: a=hidden; b=hidden", "Cookie: *"],
  ["X-Auth:hidden", "X-Auth:*"],
  ["X-Team: blue", "X-Team: blue"],
  ['{"user":"u","password":"hid\\"den"}', '{"user":"u","password":"*"}'],
  ["Bearer hidden-1", "Bearer *"],
  ["use Bearer authentication", "use Bearer authentication"],
  ["x eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.hidden y", "x * y"],
  ["-----BEGIN EC PRIVATE KEY-----\nhidden\n-----END EC PRIVATE KEY-----\n", "*\n"],
  ["-----BEGIN PRIVATE KEY-----\\nhidden", "*"],
  ["http://h:80/a@b?c=d", "http://h:80/a@b?c=d"],
  ["/a/$1?b=$2", "/a/$1?b=$2"],
])("%j is shown as %j", (text, shown) => {
  expect(hideSecrets(text, "*")).toBe(shown);
});
