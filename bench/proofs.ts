/**
 * What a request with a DPoP proof costs access-token when token and key are known, beside one verification with ES256.
 * Aim: at most 1.3 times. Run: node --import tsx bench/proofs.ts [rounds]
 */
import { generateKeyPairSync, hash, type KeyObject, sign, verify } from "node:crypto";
import { thumbprintOf } from "../src/base/jose/jwk.ts";
import { makeTokens } from "../src/plugin/testkit/fake-tokens.ts";
import { makeEnv } from "../src/plugin/testkit/testkit.ts";
import { makeView } from "../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../src/plugins/access-token/access-token.ts";

const ROUNDS = Number(process.argv[2] ?? 15);
const PER_ROUND = 1_000;
const NOW = 1_700_000_000; // where the clock of `makeEnv` stands
const [issuer, api, url] = ["https://idp.example", "https://api.example", "http://gateway.test/orders/1"];

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const sealed = (header: object, payload: object, key: KeyObject): string => {
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${sign("sha256", Buffer.from(input), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
};

const theirs = generateKeyPairSync("ec", { namedCurve: "P-256" });
const mine = generateKeyPairSync("ec", { namedCurve: "P-256" });
const jwk = mine.publicKey.export({ format: "jwk" }) as Readonly<Record<string, unknown>>;
const claims = { iss: issuer, aud: api, sub: "shop", exp: NOW + 3_600, cnf: { jkt: thumbprintOf(jwk) } };
const token = sealed({ alg: "ES256", typ: "at+jwt", kid: "k1" }, claims, theirs.privateKey);
const ath = hash("sha256", token, "base64url");
let made = 0;
const proof = (): string =>
  sealed(
    { typ: "dpop+jwt", alg: "ES256", jwk },
    { jti: `proof-${made++}`, htm: "GET", htu: url, iat: NOW, ath },
    mine.privateKey,
  );

const tokens = makeTokens({ id: "idp", issuer, keys: [{ kid: "k1", algorithm: "ES256", key: theirs.publicKey }] });
const env = makeEnv({ plugins: [accessToken], tokens });
const { rewrite } = env.compile(accessToken, { issuers: ["idp"], audiences: [api], consumer_by: "none" });

/** Microseconds of this process's CPU each: other processes of the machine do not count. */
function time(run: () => void): number {
  const start = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / PER_ROUND;
}

const rounds = Array.from({ length: ROUNDS + 1 }, () => {
  const proofs = Array.from({ length: PER_ROUND }, proof);
  const views = proofs.map((one) =>
    makeView({ target: "/orders/1", headers: { Authorization: `DPoP ${token}`, DPoP: one } }),
  );
  const parts = proofs.map((one) => {
    const dot = one.lastIndexOf(".");
    return [Buffer.from(one.slice(0, dot)), Buffer.from(one.slice(dot + 1), "base64url")] as const;
  });
  const verifying = time(() => {
    for (const [input, signature] of parts)
      if (!verify("sha256", input, { key: mine.publicKey, dsaEncoding: "ieee-p1363" }, signature))
        throw new Error("bad");
  });
  const request = time(() => {
    for (const view of views) if (rewrite?.(view) !== undefined) throw new Error("refused");
  });
  return { verifying, request, ratio: request / verifying };
}).slice(1); // the first warms up

const spread = (of: "verifying" | "request" | "ratio"): string => {
  const sorted = rounds.map((round) => round[of]).sort((one, other) => one - other);
  const [least, middle, most] = [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)].map((one) =>
    (one ?? 0).toFixed(2),
  );
  return `${middle} (${least} to ${most})`;
};
console.log(`one ES256 verification   ${spread("verifying")} us`);
console.log(`request with a proof     ${spread("request")} us`);
console.log(`ratio                    ${spread("ratio")}, aim 1.3`);
