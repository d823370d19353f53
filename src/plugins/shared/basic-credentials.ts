/**
 * User name and password of an `Authorization: Basic …` (RFC 7617).
 */
interface BasicCredentials {
  readonly username: string;
  /** All behind the first colon. */
  readonly password: string;
}

/** undefined for what is no such header: another scheme, no Base64, no colon. */
export function readBasicCredentials(header: string): BasicCredentials | undefined {
  const encoded = /^basic[ \t]+([A-Za-z0-9+/]+)={0,2}[ \t]*$/i.exec(header)?.[1];
  if (encoded === undefined || encoded.length % 4 === 1) return undefined;
  const text = Buffer.from(encoded, "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) };
}
