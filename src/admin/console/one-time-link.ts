/**
 * The one-time link that a node prints on its terminal: whoever started it opens the console without looking for the key.
 * Promise: a token works once, for a minute, on loopback; it comes in a body, never in a URL that is sent.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { compileIpSet } from "../../base/net/ip.ts";

const LIFETIME_MS = 60_000;

export interface OneTimeLink {
  /** A new token, in place of one that was made before; its minute begins now. */
  issue(): string;
  /** The key, once. */
  redeem(token: string, address: string): string | undefined;
}

export function makeOneTimeLink(key: string, clock: Clock): OneTimeLink {
  const isLoopback = compileIpSet(["127.0.0.0/8", "::1"]);
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  let open: { readonly digest: Buffer; readonly untilMs: number } | undefined;
  return {
    issue() {
      const token = randomBytes(32).toString("base64url");
      open = { digest: digest(token), untilMs: clock.monotonicMs() + LIFETIME_MS };
      return token;
    },
    redeem(token, address) {
      if (!open || !isLoopback(address) || clock.monotonicMs() >= open.untilMs) return undefined;
      if (!timingSafeEqual(open.digest, digest(token))) return undefined;
      open = undefined;
      return key;
    },
  };
}
