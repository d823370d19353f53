/**
 * What one page hands to the next: a token, which belongs into no address and no storage.
 */
let handed: string | undefined;

export function handToken(token: string): void {
  handed = token;
}

/** Once. */
export function takeToken(): string {
  const token = handed ?? "";
  handed = undefined;
  return token;
}
