import { createCipheriv } from "node:crypto";
import { CompactEncrypt } from "jose";
import { describe, expect, test } from "vitest";
import { bodyText, type EnvInput, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { jweDecrypt } from "../../src/plugins/jwe-decrypt.ts";

const SECRET = "12345678901234567890123456789012";
const BASE64 = "fo4XKdZ1xSrIZyms4q2BwPrW5lMpls9qqy5tiAk2esc=";
const consumers = [
  { username: "jack", auth: { "jwe-decrypt": { key: "user-key", secret: SECRET } } },
  { username: "rose", auth: { "jwe-decrypt": { key: "rose-key", secret: BASE64, is_base64_encoded: true } } },
];
/** Made by APISIX's own tests: their header is not authenticated. */
const OF_APISIX =
  "eyJraWQiOiJ1c2VyLWtleSIsImFsZyI6ImRpciIsImVuYyI6IkEyNTZHQ00ifQ..MTIzNDU2Nzg5MDEy.6JeRgm0.rNt131nG5wMvUD1KXbwLGA";

const encode = (value: object | string): string =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

function standard(text: string, header: object = {}, secret: string | Buffer = SECRET): Promise<string> {
  return new CompactEncrypt(Buffer.from(text, "latin1"))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM", kid: "user-key", ...header })
    .encrypt(Buffer.from(secret));
}

/** With a header of any kind, a tag of any length. */
function made(header: object, tagBytes = 16): string {
  const text = encode(header);
  const cipher = createCipheriv("aes-256-gcm", SECRET, "123456789012", { authTagLength: tagBytes });
  cipher.setAAD(Buffer.from(text));
  const body = Buffer.concat([cipher.update("hello"), cipher.final()]).toString("base64url");
  return `${text}..${encode("123456789012")}.${body}.${cipher.getAuthTag().toString("base64url")}`;
}

const GOOD = { alg: "dir", enc: "A256GCM", kid: "user-key" };

async function ask(headers: Record<string, string>, conf: object = {}, input: EnvInput = {}) {
  const view = makeView({ headers });
  const env = makeEnv({ plugins: [jweDecrypt], consumers, ...input });
  const answer = await runPhases(env.compile(jweDecrypt, conf), view);
  return { view, refused: answer && [answer.status, bodyText(answer)] };
}

const refusal = (status: number, message: string) => [status, `${JSON.stringify({ message })}\n`];
const INVALID = refusal(400, "JWE token invalid");
const UNDECRYPTED = refusal(400, "failed to decrypt JWE token");

describe("jwe-decrypt", () => {
  test.each(["", "Bearer ", "bearer "])("a token after %j goes upstream in plain text", async (scheme) => {
    for (const token of [OF_APISIX, await standard("hello"), made(GOOD)]) {
      const { view, refused } = await ask({ Authorization: scheme + token });
      expect([refused, view.headers.getAll("authorization"), view.consumer]).toEqual([undefined, ["hello"], undefined]);
    }
  });

  test("keys may be in Base64", async () => {
    const token = await standard("hi", { kid: "rose-key" }, Buffer.from(BASE64, "base64"));
    expect((await ask({ Authorization: token })).view.header("authorization")).toBe("hi");
    const theirs = "eyJhbGciOiJkaXIiLCJraWQiOiJyb3NlLWtleSIsImVuYyI6IkEyNTZHQ00ifQ";
    expect(
      (await ask({ Authorization: `${theirs}..MTIzNDU2Nzg5MDEy._0DrWD0.vl-ydutnNuMpkYskwNqu-Q` })).refused,
    ).toBeUndefined();
  });

  test("under another name, which no client can use for itself", async () => {
    const conf = { header: "X-Token", forward_header: "X-Plain", strict: false };
    const sent = { "X-Plain": "forged", X_Plain: "forged" };
    const names = ["x-plain", "x_plain"];
    const with_ = await ask({ "X-Token": OF_APISIX, ...sent }, conf);
    expect(names.map((name) => with_.view.headers.getAll(name))).toEqual([["hello"], []]);
    const without = await ask(sent, conf, { settings: { compat: "strict" } });
    expect([without.refused, names.map((name) => without.view.headers.getAll(name))]).toEqual([undefined, [[], []]]);
  });

  test("no token is refused, unless it may be missing", async () => {
    expect((await ask({})).refused).toEqual(refusal(403, "missing JWE token in request"));
    expect((await ask({}, { strict: false })).refused).toBeUndefined();
  });

  test("a request that may do without a token goes on as it came", async () => {
    const { refused, view } = await ask({ Authorization: "Basic YTpi" }, { header: "X-Token", strict: false });
    expect([refused, view.headers.getAll("authorization")]).toEqual([undefined, ["Basic YTpi"]]);
    const strict = { settings: { compat: "strict" as const } };
    const removed = await ask({ Authorization: "Basic YTpi" }, { header: "X-Token", strict: false }, strict);
    expect([removed.refused, removed.view.headers.getAll("authorization")]).toEqual([undefined, []]);
  });

  test.each<[string, string, unknown]>([
    ["no JSON in the header", `invalid-${OF_APISIX}`, INVALID],
    ["four parts", "a.b.c.d", INVALID],
    ["an encrypted key", OF_APISIX.replace("..", ".a."), INVALID],
    ["another algorithm", made({ ...GOOD, alg: "A256KW" }), INVALID],
    ["another encryption", made({ ...GOOD, enc: "A128GCM" }), INVALID],
    ["compression", made({ ...GOOD, zip: "DEF" }), INVALID],
    ["a critical extension", made({ ...GOOD, crit: ["b64"] }), INVALID],
    ["a short tag", made(GOOD, 4), INVALID],
    ["no kid", made({ alg: "dir", enc: "A256GCM" }), refusal(400, "missing kid in JWE token")],
    ["a kid that is no text", made({ ...GOOD, kid: 7 }), refusal(400, "missing kid in JWE token")],
    ["an unknown kid", made({ ...GOOD, kid: "nobody" }), refusal(400, "invalid kid in JWE token")],
    ["another's kid", made({ ...GOOD, kid: "rose-key" }), UNDECRYPTED],
    ["changed text", OF_APISIX.replace("6JeRgm0", "6JeRgm4"), UNDECRYPTED],
  ])("%s is refused", async (_says, token, want) => {
    const { refused, view } = await ask({ Authorization: token });
    expect([refused, view.header("authorization")]).toEqual([want, token]);
  });

  test("what could not be a header's value is refused", async () => {
    expect((await ask({ Authorization: await standard("a\r\nX-Admin: 1") })).refused).toEqual(UNDECRYPTED);
    expect((await ask({ Authorization: await standard("caf\xe9") })).view.header("authorization")).toBe("caf\xe9");
  });

  test("compat strict takes authenticated headers only", async () => {
    const strict = { settings: { compat: "strict" as const } };
    expect((await ask({ Authorization: OF_APISIX }, {}, strict)).refused).toEqual(UNDECRYPTED);
    expect((await ask({ Authorization: made(GOOD) }, {}, strict)).refused).toBeUndefined();
  });

  test("a secret that cannot be a key is refused with the consumer", () => {
    const check = (conf: object) => jweDecrypt.credential?.check?.({ key: "a", ...conf });
    expect(check({ secret: `${SECRET}3` })).toBe("the secret length should be 32 chars");
    expect(check({ secret: "YWJj", is_base64_encoded: true })).toBe(
      "the secret length after base64 decode should be 32 chars",
    );
    expect(check({ secret: "$env://JWE" })).toBeUndefined();
  });
});
