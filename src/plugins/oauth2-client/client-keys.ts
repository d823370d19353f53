/**
 * The public keys of a client, as its record says: in it, or at an address.
 */
import { keyPairVerifier } from "../../base/jose/algorithms.ts";
import type { TokenKeys, Tokens, VerifyKey } from "../../plugin/tokens.ts";
import { clientKeys } from "./certificate-fit.ts";
import type { ClientConf } from "./client-schema.ts";

/** Most keys that are tried for a signature that names none. */
export const TRIED_MAX = 4;

/** undefined: it has none. */
export function assertionKeys({ jwks, jwks_uri: uri }: ClientConf, tokens: Tokens): TokenKeys | undefined {
  if (uri !== undefined) return tokens.keysAt(uri);
  const set = jwks && clientKeys(jwks);
  if (set === undefined || typeof set === "string") return undefined; // refused when it was written
  const keys = set.flatMap(({ kid, key, algorithms }) =>
    algorithms.map(
      (algorithm): VerifyKey => ({
        ...{ kid, algorithm, current: true, usedIn: 0 },
        ...keyPairVerifier(algorithm, key),
      }),
    ),
  );
  return {
    keys(algorithm, kid) {
      const fitting = keys.filter((key) => key.algorithm === algorithm && (kid === undefined || key.kid === kid));
      return fitting.length > 0 && fitting.length <= TRIED_MAX ? fitting : "unknown_kid";
    },
    wanted: () => undefined,
    doubted: () => undefined,
  };
}
