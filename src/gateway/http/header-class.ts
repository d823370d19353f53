/**
 * What a header name means to a proxy, told by length and first letter before anything is compared.
 * Promise: spellings differ in case only, except for names that stand for identity, forwarding or framing: those are
 * known in every spelling a back end may read as the same (`X_Consumer_Username`, `Content_Length`).
 * Sources: RFC 9110 section 7.6.1, RFC 9112 section 6, docs/spec/proxy.md section 1.
 */
export const PLAIN = 0;
/** Hop-by-hop: never passed on. */
export const HOP = 1;
export const CONNECTION = 2;
export const HOST = 3;
export const CONTENT_LENGTH = 4;
export const TRANSFER_ENCODING = 5;
export const UPGRADE = 6;
export const EXPECT = 7;
export const AUTHORIZATION = 8;
/** X-Consumer-*, X-Credential-Identifier in any spelling. */
export const IDENTITY = 9;
export const X_REAL_IP = 10;
export const X_FORWARDED_FOR = 11;
export const X_FORWARDED_PROTO = 12;
export const X_FORWARDED_HOST = 13;
export const X_FORWARDED_PORT = 14;
export const FORWARDED = 15;
/** A spelling of a framing or forwarding name that is not the name itself. */
export const ALIAS = 16;
/** Hop-by-hop as well; Node's parser takes its `close` for that of Connection. */
export const PROXY_CONNECTION = 17;

/** Client-Cert, Client-Cert-Chain: what a proxy says of its client's certificate (RFC 9440). */
export const CLIENT_CERT = 18;

/** Hop-by-hop as well; says whether a client takes trailers. */
export const TE = 19;

/** The names above by their lower-case spelling with dashes. */
const KNOWN: ReadonlyMap<string, number> = new Map([
  ["te", TE],
  ["trailer", HOP],
  ["keep-alive", HOP],
  ["proxy-connection", PROXY_CONNECTION],
  ["http2-settings", HOP],
  ["connection", CONNECTION],
  ["host", HOST],
  ["content-length", CONTENT_LENGTH],
  ["transfer-encoding", TRANSFER_ENCODING],
  ["upgrade", UPGRADE],
  ["expect", EXPECT],
  ["authorization", AUTHORIZATION],
  ["x-real-ip", X_REAL_IP],
  ["x-forwarded-for", X_FORWARDED_FOR],
  ["x-forwarded-proto", X_FORWARDED_PROTO],
  ["x-forwarded-host", X_FORWARDED_HOST],
  ["x-forwarded-port", X_FORWARDED_PORT],
  ["forwarded", FORWARDED],
  ["client-cert", CLIENT_CERT],
  ["client-cert-chain", CLIENT_CERT],
]);

/** Bit n set: a name of length n beginning with that letter needs a closer look. */
const LOOK = buildLook();

function buildLook(): Uint32Array {
  const look = new Uint32Array(128);
  for (const name of KNOWN.keys()) {
    const code = name.charCodeAt(0);
    look[code] = ((look[code] as number) | (1 << name.length)) >>> 0;
  }
  return look;
}

/** What was found out about names that needed a closer look; clients can fill it, so it is bounded. */
const seen = new Map<string, number>();
const SEEN_MAX = 2000;
const SEEN_LENGTH_MAX = 64;

/** The class of a header name in any case. Cost: a few comparisons for most names, one look-up for the others. */
export function classifyHeader(name: string): number {
  const first = name.charCodeAt(0) | 0x20;
  if (first === 0x78) {
    const third = name.charCodeAt(2) | 0x20;
    // x-c(onsumer), x-c(redential), x-f(orwarded), x-r(eal)
    if (third !== 0x63 && third !== 0x66 && third !== 0x72) return PLAIN;
  } else if (name.length > 31 || ((LOOK[first & 0x7f] as number) & (1 << name.length)) === 0) return PLAIN;
  return seen.get(name) ?? classifySlowly(name);
}

/** A header name in one spelling, with its class. */
interface KnownName {
  readonly name: string;
  readonly kind: number;
}

const NAMES = 1_024;
/** Names as they were spelled last, each in a place that some of its letters give: another one there takes it. */
const names = new Array<KnownName | undefined>(NAMES).fill(undefined);

/** The name in bytes[start, end), which is not empty. Cost: one comparison where it was met before. */
export function readName(bytes: Buffer, start: number, end: number): KnownName {
  const length = end - start;
  // True: the three are between start and end.
  const mixed =
    (bytes[start] as number) * 31 + (bytes[end - 1] as number) * 7 + (bytes[start + (length >> 1)] as number);
  const place = (length * 131 + mixed) & (NAMES - 1);
  const known = names[place];
  if (known !== undefined && known.name.length === length && stands(known.name, bytes, start)) return known;
  const name = bytes.toString("latin1", start, end);
  const met = { name, kind: classifyHeader(name) };
  if (length <= SEEN_LENGTH_MAX) names[place] = met;
  return met;
}

function stands(name: string, bytes: Buffer, start: number): boolean {
  for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}

function classifySlowly(name: string): number {
  const lower = name.toLowerCase();
  const kind = KNOWN.get(lower) ?? classifyFolded(foldName(lower), lower.startsWith("x"));
  if (seen.size < SEEN_MAX && name.length <= SEEN_LENGTH_MAX) {
    // A copy: the name is a part of a whole head, which must not stay in memory with it.
    seen.set(Buffer.from(name, "latin1").toString("latin1"), kind);
  }
  return kind;
}

function classifyFolded(folded: string, isExtension: boolean): number {
  if (folded.startsWith("x-consumer-") || folded === "x-credential-identifier") return IDENTITY;
  const kind = KNOWN.get(folded);
  if (kind === undefined) return PLAIN;
  const isGuarded = kind === CONTENT_LENGTH || kind === TRANSFER_ENCODING || kind === CLIENT_CERT;
  return isExtension || isGuarded ? ALIAS : PLAIN;
}

/** CGI-like back ends read every character that is no letter or digit alike. */
function foldName(lower: string): string {
  return lower.replace(/[^a-z0-9]/g, "-");
}

/** The tokens of Connection values in lower case; undefined when they are only "close" and "keep-alive". */
export function connectionTokens(value: string, into: Set<string> | undefined): Set<string> | undefined {
  if (value === "keep-alive" || value === "close" || value === "Keep-Alive") return into;
  let tokens = into;
  for (const part of value.split(",")) {
    const token = part.trim().toLowerCase();
    if (token === "" || token === "close" || token === "keep-alive") continue;
    tokens ??= new Set();
    tokens.add(token);
  }
  return tokens;
}
