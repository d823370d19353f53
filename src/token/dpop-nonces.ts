/**
 * Nonces for DPoP proofs (RFC 9449 section 8): the minute under a key that all nodes derive from the key that signs.
 * Promise: nothing is remembered or shared, any node takes any node's; one is good for 2 to 3 minutes, and a minute ahead of a
 * clock that is behind. Source: docs/spec/tokens.md section 8.
 */
import { createHmac, hkdfSync, type KeyObject, timingSafeEqual } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import type { DpopNonces } from "../plugin/tokens.ts";

const MINUTE_MS = 60_000;
/** Minutes before this one. */
const FITS = [0, 1, 2, -1];
const NONCE_CHARS = 22;

export function nonceSecret(signing: KeyObject): Buffer {
  const bytes = signing.export({ type: "pkcs8", format: "der" });
  return Buffer.from(hkdfSync("sha256", bytes, "", "jotgate dpop nonce", 32));
}

/** @param secret undefined while no key signs: then there is no nonce, and none is accepted */
export function openDpopNonces(secret: () => Buffer | undefined, clock: Clock): DpopNonces {
  const nonceAt = (minute: number): string | undefined => {
    const key = secret();
    return key && createHmac("sha256", key).update(String(minute)).digest("base64url").slice(0, NONCE_CHARS);
  };
  const minuteNow = (): number => Math.floor(clock.nowMs() / MINUTE_MS);
  return {
    current: () => nonceAt(minuteNow()),
    accepts(given) {
      if (typeof given !== "string" || given.length !== NONCE_CHARS) return false;
      const minute = minuteNow();
      return FITS.some((before) => isSame(given, nonceAt(minute - before)));
    },
  };
}

function isSame(given: string, nonce: string | undefined): boolean {
  const [one, other] = [Buffer.from(given), Buffer.from(nonce ?? "")];
  return one.length === other.length && timingSafeEqual(one, other);
}
