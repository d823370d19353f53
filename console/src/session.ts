/**
 * Whose key is used. Promise: it lies in this module's memory; in sessionStorage only when asked for; never in a URL.
 */
import { useSyncExternalStore } from "react";

const STORED = "jotgate.key";
let key = sessionStorage.getItem(STORED) ?? undefined;
/** Why the person has to sign in again; kept until they have. */
let reason: string | undefined;
const listeners = new Set<() => void>();

function changed(): void {
  for (const listener of listeners) listener();
}

export const currentKey = (): string | undefined => key;
export const signOutReason = (): string | undefined => reason;

export function signIn(given: string, keep: boolean): void {
  key = given;
  reason = undefined;
  if (keep) sessionStorage.setItem(STORED, given);
  changed();
}

export function signOut(why?: string): void {
  key = undefined;
  reason = why;
  sessionStorage.removeItem(STORED);
  changed();
}

export function useKey(): string | undefined {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, currentKey);
}

/** The token of a one-time link; it is taken out of the address at once. */
export function takeLinkToken(): string | undefined {
  const token = /^#once=([\w-]+)$/.exec(location.hash)?.[1];
  if (token !== undefined) history.replaceState(null, "", location.pathname + location.search);
  return token;
}
