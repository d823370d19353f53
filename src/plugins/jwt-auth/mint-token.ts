/**
 * A token that a consumer or credential could have signed, made by the admin to try routes with.
 * Promise: `key`, `iat` and `exp` are set here, whatever the claims say; what stands for a secret elsewhere is not looked up.
 */

import { isCodedError } from "../../base/errors.ts";
import { ALGORITHMS, HmacKey, isHmac, keyPairSigner, privateKey, type Signer } from "../../base/jose/algorithms.ts";
import type { Members } from "../../base/json/members.ts";
import { isReference } from "../../base/reference.ts";
import type { Minted, MintTimes } from "../../plugin/plugin.ts";

export async function mintToken(conf: Members, claims: Members, times: MintTimes): Promise<Minted | string> {
  const { key, kid } = conf;
  const algorithm = ALGORITHMS.find((name) => name === (conf["algorithm"] ?? "HS256"));
  if (algorithm === undefined) return "algorithm is a reference, which is not looked up here";
  if (typeof key !== "string" || isReference(key)) return "key is a reference, which is not looked up here";
  const member = isHmac(algorithm) ? "secret" : "private_key";
  const given = conf[member];
  if (typeof given !== "string" || given === "") return `there is no ${member}: its owner signs with one of their own`;
  if (isReference(given)) return `${member} is a reference, which is not looked up here`;
  let signer: Signer;
  try {
    signer = isHmac(algorithm)
      ? new HmacKey(algorithm, given, conf["base64_secret"] === true)
      : keyPairSigner(algorithm, privateKey(algorithm, given));
  } catch (error) {
    if (isCodedError(error)) return error.message;
    throw error;
  }
  const expires = times.nowSeconds + times.lifetimeSeconds;
  const header = { typ: "JWT", alg: algorithm, ...(typeof kid === "string" && { kid }) };
  const input = [header, { ...claims, key, iat: times.nowSeconds, exp: expires }]
    .map((part) => Buffer.from(JSON.stringify(part), "utf8").toString("base64url"))
    .join(".");
  const signature = await signer.sign(input);
  return { token: `${input}.${signature.toString("base64url")}`, expires };
}
