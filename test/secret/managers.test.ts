/** Each secret manager against a real HTTP server: what is asked, byte for byte, and what is made of the answers. */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jwtVerify } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { FakeClock, systemClock } from "../../src/base/clock.ts";
import { isCodedError, messageOf } from "../../src/base/errors.ts";
import { type GuardedExchange, openExchange } from "../../src/base/net/guarded-exchange.ts";
import { METADATA_ADDRESSES } from "../../src/base/net/ip.ts";
import { authorizationOf } from "../../src/secret/managers/aws.ts";
import type { ManagerTools, SecretManager } from "../../src/secret/managers/reading.ts";
import { openManager } from "../../src/secret/managers/secret-manager.ts";
import { openSecretServer, type SecretServer, sendJson } from "../support/secret-server.ts";

let server: SecretServer;
beforeAll(async () => {
  server = await openSecretServer();
});
afterAll(() => server.close());
beforeEach(() => {
  server.seen.length = 0;
});

const clock = new FakeClock(Date.UTC(2026, 0, 2, 3, 4, 5));
const abort = new AbortController();
const exchange = openExchange({
  clock,
  timeoutMs: 5000,
  answerBytes: 4096,
  denied: METADATA_ADDRESSES,
  signal: abort.signal,
});
const tools: ManagerTools = { exchange, clock, resolveEnv: (text) => (text === "$ENV://TOKEN" ? "from-env" : text) };

function open(manager: string, record: object): SecretManager {
  const opened = openManager(manager, record, tools);
  if (typeof opened === "string") throw new Error(opened);
  return opened;
}

describe("vault, version 1", () => {
  const conf = () => ({ uri: server.url, prefix: "kv/apisix", token: "root" });
  beforeEach(() => {
    server.answer = (_request, response) =>
      sendJson(response, 200, { data: { "jwt-key": "jwt-vault-key", n: 1, z: null } });
  });

  test("is asked exactly as APISIX asks", async () => {
    expect(await open("vault", conf()).read("jack/jwt-key")).toEqual({ kind: "found", value: "jwt-vault-key" });
    const host = server.url.slice("http://".length);
    expect(server.seen).toMatchObject([{ method: "GET", url: "/v1/kv/apisix/jack", body: "{}" }]);
    expect(server.seen[0]?.rawHeaders).toEqual([
      ...["X-Vault-Token", "root"],
      ...["Content-Length", "2"],
      ...["Host", host],
      ...["Connection", "close"],
    ]);
  });

  test("a namespace and a token from the environment are sent", async () => {
    await open("vault", { ...conf(), namespace: "team/a", token: "$ENV://TOKEN" }).read("jack/jwt-key");
    expect(server.seen[0]?.headers).toMatchObject({ "x-vault-token": "from-env", "x-vault-namespace": "team/a" });
  });

  test.each([
    { says: "slashes are collapsed", prefix: "/kv//apisix/", key: "a//b/f", url: "/v1/kv/apisix/a/b" },
    { says: "dots are collapsed", prefix: "kv/./x/../apisix", key: "a/../b/f", url: "/v1/kv/apisix/b" },
    {
      says: "odd characters are escaped",
      prefix: "kv",
      key: "a b?c#d%2e/é/f",
      url: "/v1/kv/a%20b%3Fc%23d%252e/%C3%A9",
    },
    { says: "path characters are not", prefix: "kv", key: "a:b@c,d;e=f+g!h/f", url: "/v1/kv/a:b@c,d;e=f+g!h" },
    { says: "a path below uri stays", uri: "/vault/", prefix: "kv", key: "a/f", url: "/vault/v1/kv/a" },
  ])("$says", async ({ uri = "", prefix, key, url }) => {
    await open("vault", { ...conf(), uri: server.url + uri, prefix }).read(key);
    expect(server.seen.map((one) => one.url)).toEqual([url]);
  });

  test.each(["../sys/f", "a/../../b/f", "../../../v1/sys/f", ".././f"])("%s does not leave the prefix", async (key) => {
    expect(await open("vault", conf()).read(key)).toMatchObject({
      kind: "absent",
      why: expect.stringMatching(/^the path leaves the prefix/) as unknown,
    });
    expect(server.seen).toEqual([]);
  });

  test.each([
    { says: "a field", key: "jack/jwt-key", want: { kind: "found", value: "jwt-vault-key" } },
    { says: "a number", key: "jack/n", want: { kind: "found", value: 1 } },
    { says: "null", key: "jack/z", want: { kind: "absent" } },
    { says: "no field", key: "jack/none", want: { kind: "absent" } },
    { says: "an inherited member", key: "jack/constructor", want: { kind: "absent" } },
  ])("$says", async ({ key, want }) => {
    expect(await open("vault", conf()).read(key)).toMatchObject(want);
  });

  test.each([
    { status: 404, body: '{"errors":[]}', kind: "absent" },
    { status: 200, body: "{}", kind: "absent" },
    { status: 200, body: "not json", kind: "absent" },
    { status: 200, body: '{"data":[]}', kind: "absent" },
    { status: 200, body: '{"data":{"data":{"f":"v2"},"metadata":{}}}', kind: "absent" },
    { status: 403, body: '{"errors":["permission denied"]}', kind: "unavailable" },
    { status: 429, body: "", kind: "unavailable" },
    { status: 500, body: "", kind: "unavailable" },
    { status: 503, body: '{"errors":["Vault is sealed"]}', kind: "unavailable" },
    { status: 307, body: "", kind: "unavailable" },
  ])("$status with $body is $kind", async ({ status, body, kind }) => {
    server.answer = (_request, response) =>
      response.writeHead(status, { Location: `${server.url}/elsewhere` }).end(body);
    expect((await open("vault", conf()).read("jack/f")).kind).toBe(kind);
    expect(server.seen).toHaveLength(1);
  });

  test("the status is ignored when there is data", async () => {
    server.answer = (_request, response) => sendJson(response, 404, { data: { f: "v" } });
    expect(await open("vault", conf()).read("jack/f")).toEqual({ kind: "found", value: "v" });
  });
});

describe("vault, version 2", () => {
  test("is asked below data, and answers one level deeper", async () => {
    server.answer = (_request, response) =>
      sendJson(response, 200, { data: { data: { f: "v2" }, metadata: { version: 3 } } });
    const vault = open("vault", { uri: server.url, prefix: "kv/apisix/x", token: "root", kv_version: 2 });
    expect(await vault.read("jack/f")).toEqual({ kind: "found", value: "v2" });
    expect(server.seen[0]?.url).toBe("/v1/kv/data/apisix/x/jack");
  });

  test("a deleted version is absent", async () => {
    server.answer = (_request, response) =>
      sendJson(response, 404, { data: { data: null, metadata: { deletion_time: "x" } } });
    const vault = open("vault", { uri: server.url, prefix: "kv", token: "root", kv_version: 2 });
    expect((await vault.read("jack/f")).kind).toBe("absent");
  });
});

describe("the exchange", () => {
  const get = (url: string, by: GuardedExchange = exchange) => by({ method: "GET", url, headers: {} });
  const why = async (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => "answered",
      (error: unknown) =>
        isCodedError(error, "SECRET_UNRESOLVED") ? error.message : `another error: ${messageOf(error)}`,
    );

  test.each([
    "http://169.254.169.254/latest/meta-data",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[::ffff:169.254.169.254]/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://100.100.100.200/",
  ])("%s is never called", async (url) => {
    expect(await why(get(url))).toMatch(/is not allowed$/);
  });

  test("a name that means a denied address is not called", async () => {
    const denied = openExchange({
      clock,
      timeoutMs: 5000,
      answerBytes: 10,
      denied: ["127.0.0.0/8", "::1/128"],
      signal: abort.signal,
    });
    expect(await why(get(server.url.replace("127.0.0.1", "localhost"), denied))).toMatch(
      /address (127\.0\.0\.1|::1) is not allowed$/,
    );
    expect(server.seen).toEqual([]);
  });

  test.each(["ftp://x/", "file:///etc/passwd", "nonsense", ""])("%j is no address", async (url) => {
    expect(await why(get(url))).toBe("not an http or https address");
  });

  test("credentials in an address are refused and not repeated", async () => {
    expect(await why(get("http://u:hunter2@127.0.0.1/"))).toBe("the address holds a user or password");
  });

  test("a name may be looked up", async () => {
    server.answer = (_request, response) => response.end("ok");
    const answer = await get(server.url.replace("127.0.0.1", "localhost"));
    expect([answer.status, answer.body.toString()]).toEqual([200, "ok"]);
  });

  test("an answer above the limit is dropped", async () => {
    server.answer = (_request, response) => response.end("x".repeat(5000));
    expect(await why(get(server.url))).toMatch(/answer above 4096 bytes$/);
  });

  test.each(["before the head", "inside the body"])("an answer that stops %s is given up after 5 s", async (where) => {
    server.answer = (_request, response) => where === "inside the body" && response.write("part");
    const answer = why(get(server.url));
    while (server.seen.length === 0) await new Promise((resolve) => setImmediate(resolve));
    clock.advance(5000);
    expect(await answer).toMatch(/no answer within 5000 ms|aborted/);
  });

  test("an answer that is cut is an error", async () => {
    server.answer = (_request, response) => {
      response.writeHead(200, { "Content-Length": "100" }).write("part");
      setImmediate(() => response.destroy());
    };
    expect(await why(get(server.url))).toMatch(/127\.0\.0\.1/);
  });

  test("nobody there is an error", async () => {
    const gone = await openSecretServer();
    await gone.close();
    expect(await why(get(gone.url))).toContain("ECONNREFUSED");
  });

  test("a certificate that nobody vouches for is refused, unless told otherwise", async () => {
    const { cert, key } = SELF_SIGNED;
    const https = createHttpsServer({ cert, key }, (_request, response) => response.end("ok"));
    await new Promise<void>((resolve) => https.listen(0, "127.0.0.1", resolve));
    const url = `https://127.0.0.1:${(https.address() as AddressInfo).port}/`;
    const real = openExchange({
      clock: systemClock,
      timeoutMs: 5000,
      answerBytes: 10,
      denied: [],
      signal: abort.signal,
    });
    expect(await why(get(url, real))).toMatch(/self-signed certificate/);
    expect((await real({ method: "GET", url, headers: {}, verifyTls: false })).status).toBe(200);
    https.closeAllConnections();
    https.close();
  });
});

describe("aws", () => {
  const conf = () => ({
    access_key_id: "AKID",
    secret_access_key: "$ENV://TOKEN",
    region: "eu-west-1",
    endpoint_url: server.url,
  });
  const secrets = new Map<string, string>([
    ["plain", "text"],
    ["a/b", '{"c":"from a/b","d/e":"deep"}'],
    ["a", '{"b/c":"from a","x/y":"two"}'],
  ]);
  beforeEach(() => {
    server.answer = (request, response) => {
      const { SecretId } = JSON.parse(request.body) as { SecretId: string };
      const found = secrets.get(SecretId);
      if (found === undefined) sendJson(response, 400, { __type: "ResourceNotFoundException" });
      else sendJson(response, 200, { SecretString: found });
    };
  });

  test("signatures are those of AWS's published example", () => {
    const identity = {
      accessKeyId: "AKIDEXAMPLE",
      secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
      region: "us-east-1",
      service: "service",
    };
    const headers = { host: "example.amazonaws.com", "x-amz-date": "20150830T123600Z" };
    const signature = (method: string) => authorizationOf({ method, path: "/", headers, body: "" }, identity);
    expect(signature("GET")).toBe(
      "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, " +
        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    );
    expect(signature("POST")).toContain("Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
  });

  test("is asked for the current version, signed", async () => {
    expect(await open("aws", { ...conf(), session_token: "st" }).read("plain")).toEqual({
      kind: "found",
      value: "text",
    });
    expect(server.seen[0]).toMatchObject({
      method: "POST",
      url: "/",
      body: '{"SecretId":"plain","VersionStage":"AWSCURRENT"}',
      headers: {
        "x-amz-target": "secretsmanager.GetSecretValue",
        "x-amz-date": expect.stringMatching(/^20260102T0304\d\dZ$/) as unknown,
        "x-amz-security-token": "st",
        "content-type": "application/x-amz-json-1.1",
        authorization: expect.stringMatching(
          /^AWS4-HMAC-SHA256 Credential=AKID\/20260102\/eu-west-1\/secretsmanager\/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=[0-9a-f]{64}$/,
        ) as unknown,
      },
    });
  });

  test.each([
    { key: "a/b/c", want: { kind: "found", value: "from a/b" }, asked: ["a/b/c", "a/b"] },
    { key: "a/x/y", want: { kind: "found", value: "two" }, asked: ["a/x/y", "a/x", "a"] },
    { key: "a/b", want: { kind: "found", value: secrets.get("a/b") }, asked: ["a/b"] },
    { key: "a/b/none", want: { kind: "absent" }, asked: ["a/b/none", "a/b"] },
    { key: "none", want: { kind: "absent" }, asked: ["none"] },
    { key: "plain/x", want: { kind: "absent" }, asked: ["plain/x", "plain"] },
  ])("$key: the longest name that is there", async ({ key, want, asked }) => {
    expect(await open("aws", conf()).read(key)).toMatchObject(want);
    expect(server.seen.map(({ body }) => (JSON.parse(body) as { SecretId: string }).SecretId)).toEqual(asked);
  });

  test("another refusal is no answer", async () => {
    server.answer = (_request, response) =>
      sendJson(response, 400, { __type: "AccessDeniedException", message: "AKID" });
    expect(await open("aws", conf()).read("plain")).toEqual({
      kind: "unavailable",
      why: "failed to retrieve data from aws secret manager: status 400",
    });
  });

  test("a name of a thousand slashes is asked for eight times at most", async () => {
    expect((await open("aws", conf()).read("x/".repeat(1000))).kind).toBe("absent");
    expect(server.seen).toHaveLength(8);
  });
});

describe("gcp", () => {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const account = () => ({
    client_email: "gate@project.test",
    private_key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    project_id: "my-project",
    token_uri: `${server.url}/token`,
    entries_uri: `${server.url}/v1`,
  });
  const access = (text: string) => ({ payload: { data: Buffer.from(text).toString("base64") } });
  beforeEach(() => {
    server.answer = (request, response) => {
      if (request.url === "/token") sendJson(response, 200, { access_token: "at-1", expires_in: 3600 });
      else if (request.headers.authorization !== "Bearer at-1") sendJson(response, 401, {});
      else if (request.url.includes("/plain/")) sendJson(response, 200, access("text"));
      else if (request.url.includes("/json/")) sendJson(response, 200, access('{"a/b":"deep"}'));
      else sendJson(response, 404, {});
    };
  });

  test.each([
    { key: "plain", want: { kind: "found", value: "text" } },
    { key: "json/a/b", want: { kind: "found", value: "deep" } },
    { key: "json/none", want: { kind: "absent" } },
    { key: "none", want: { kind: "absent", why: "failed to retrtive data from gcp secret manager: status 404" } },
  ])("$key", async ({ key, want }) => {
    expect(await open("gcp", { auth_config: account() }).read(key)).toMatchObject(want);
    expect(server.seen[1]).toMatchObject({
      method: "GET",
      url: `/v1/projects/my-project/secrets/${key.split("/")[0]}/versions/latest:access`,
    });
  });

  test("shows who it is by a signed token, once an hour", async () => {
    const gcp = open("gcp", { auth_config: account() });
    await Promise.all([gcp.read("plain"), gcp.read("json/a/b")]);
    const tokens = () => server.seen.filter(({ url }) => url === "/token");
    expect(tokens()).toHaveLength(1);
    const form = new URLSearchParams(tokens()[0]?.body);
    expect(form.get("grant_type")).toBe("urn:ietf:params:oauth:grant-type:jwt-bearer");
    const { payload } = await jwtVerify(form.get("assertion") ?? "", publicKey, {
      currentDate: new Date(clock.nowMs()),
    });
    expect(payload).toEqual({
      iss: "gate@project.test",
      aud: `${server.url}/token`,
      scope: "https://www.googleapis.com/auth/cloud-platform",
      iat: Math.floor(clock.nowMs() / 1000),
      exp: Math.floor(clock.nowMs() / 1000) + 3600,
    });
    clock.advance(3_539_000);
    await gcp.read("plain");
    expect(tokens()).toHaveLength(1);
    clock.advance(1000);
    await gcp.read("plain");
    expect(tokens()).toHaveLength(2);
  });

  test("a token that is refused is not used again", async () => {
    const gcp = open("gcp", { auth_config: account() });
    const served = server.answer;
    server.answer = (_request, response) =>
      sendJson(response, _request.url === "/token" ? 200 : 401, { access_token: "old", expires_in: 3600 });
    expect((await gcp.read("plain")).kind).toBe("unavailable");
    server.answer = served;
    expect((await gcp.read("plain")).kind).toBe("found");
  });

  test("the account may be in a file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gcp-"));
    const file = join(folder, "account.json");
    const gcp = open("gcp", { auth_file: file });
    expect(await gcp.read("plain")).toMatchObject({
      kind: "unavailable",
      why: expect.stringMatching(/auth_file cannot be read$/) as unknown,
    });
    writeFileSync(file, JSON.stringify(account()));
    expect((await gcp.read("plain")).kind).toBe("found");
    rmSync(folder, { recursive: true });
  });

  test.each([
    { says: "a broken private key", change: { private_key: "hunter2" }, why: /the private key cannot be read$/ },
    { says: "a token address that does not answer", change: { token_uri: "http://127.0.0.1:1/" }, why: /ECONNREFUSED/ },
  ])("$says gives no value and no secret in the text", async ({ change, why }) => {
    const reading = await open("gcp", { auth_config: { ...account(), ...change } }).read("plain");
    expect(reading).toMatchObject({ kind: "unavailable", why: expect.stringMatching(why) as unknown });
    expect(JSON.stringify(reading)).not.toContain("hunter2");
  });
});

test("an unknown manager opens nothing", () => {
  expect(openManager("keeper", {}, tools)).toBe("no secret manager: keeper");
});

/** For 127.0.0.1, made for these tests. */
const SELF_SIGNED = {
  cert: `-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUOj9DelYSYVtS+vfZxmVsVFlH6QkwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLc2VjcmV0LnRlc3QwIBcNMjYxMTIzMTg1NDAwWhgPMjEyNjEw
MzAxODU0MDBaMBYxFDASBgNVBAMMC3NlY3JldC50ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEGbVjpGkrH2cBwjgLnG+fSTl2pl6uCUSnkJiLN6MIKXrGwRD7
v6OUmcCr1AhH6zVyyTU4KtRNb4aJPIRd22NvR6NTMFEwHQYDVR0OBBYEFKMoF5Sr
6jp1W2W6u2oNaDQz4Jl3MB8GA1UdIwQYMBaAFKMoF5Sr6jp1W2W6u2oNaDQz4Jl3
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgFbUQSXK22SG3jQFD
BSf/bj+bbzpFXO2IKeqe3m6MitgCIQCbZ4rwI4Y+cSqR4JyaLavpooSm1iiJ/rfH
65sPJv0bgA==
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgn8YuGDo2oNVYRsVD
8yqVnI4d5Po4j6jOfMu+Q1i4F62hRANCAAQZtWOkaSsfZwHCOAucb59JOXamXq4J
RKeQmIs3owgpesbBEPu/o5SZwKvUCEfrNXLJNTgq1E1vhok8hF3bY29H
-----END PRIVATE KEY-----
`,
};
