/** A second opinion on every token: jose accepts what access-token accepts, but for the listed differences. */
import { randomInt } from "node:crypto";
import fc from "fast-check";
import { jwtVerify } from "jose";
import { expect, test } from "vitest";
import { KEY_PAIR_ALGORITHMS } from "../../src/base/jose/algorithms.ts";
import { API, claims, ISS, NOW, openTokenNode } from "../support/access-token.ts";
import { keyOf, makeToken } from "../support/jwt.ts";
import { runs } from "../support/long-run.ts";

const TIMES = fc.constantFrom(
  undefined,
  NOW - 31,
  NOW - 30,
  NOW - 29,
  NOW,
  NOW + 29,
  NOW + 30,
  NOW + 31,
  NOW + 0.5,
  "7",
);
const AUDIENCES = fc.constantFrom(undefined, API, [API], ["x", API], ["x"], "x", "", [], 7);

test("jose and access-token agree on signature, issuer, audience, typ and times", async () => {
  const keys = KEY_PAIR_ALGORITHMS.map((algorithm) => ({ kid: algorithm, algorithm, key: keyOf(algorithm).publicKey }));
  const node = openTokenNode({ issuer: { keys, types: ["at+jwt"] }, route: { consumer_by: "none" } });
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        algorithm: fc.constantFrom(...KEY_PAIR_ALGORITHMS),
        exp: TIMES,
        nbf: TIMES,
        aud: AUDIENCES,
        iss: fc.constantFrom(ISS, ISS, `${ISS}/`, undefined, 7),
        typ: fc.constantFrom("at+jwt", "at+jwt", "AT+JWT", "application/at+jwt", "JWT", undefined),
        broken: fc.nat(5).map((n) => n === 0),
      }),
      async ({ algorithm, typ, broken, ...changed }) => {
        const payload = claims({ iat: undefined, ...changed });
        const good = makeToken({ algorithm, payload, header: { typ, kid: algorithm } });
        const token = broken ? spoilt(good) : good;
        const theirs = await jwtVerify(token, keyOf(algorithm).publicKey, {
          ...{ issuer: ISS, audience: API, algorithms: [algorithm], typ: "at+jwt", clockTolerance: 30 },
          ...{ requiredClaims: ["exp"], currentDate: new Date(NOW * 1_000) },
        }).then(
          () => true,
          () => false,
        );
        const ours = (await node.callWith(token)).status === 200;
        // A list with a member that is no text is refused here alone; none of these lists has one.
        expect({ token, accepted: ours }).toEqual({ token, accepted: theirs });
      },
    ),
    { numRuns: runs(150) },
  );
});

/** Another character somewhere in the signature. */
function spoilt(token: string): string {
  const at = token.lastIndexOf(".") + 1 + randomInt(40);
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
}
