/**
 * Seeded makers of HTTP/1.1 requests, good and bad: a failing case is repeated by its seed alone.
 */

/** A small seeded generator (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `below` - 1. */
  under(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  }

  chance(oneIn: number): boolean {
    return this.under(oneIn) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.under(list.length)] as T;
  }
}

const METHODS = [
  "GET",
  "GET",
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "PATCH",
  "OPTIONS",
  "PROPFIND",
  "FOO",
  "get",
  "TRACE",
  "G",
  "",
];
const TARGETS = [
  "/",
  "/a",
  "/a/b?c=d",
  "/%41",
  "/a%2fb",
  "/a//b",
  "/a/../b",
  "/%zz",
  "/a#b",
  "/a?b#c",
  "*",
  "http://h/x",
  "h:80",
  '/"<>|{}^`\\',
  "/a b",
  "//x/y",
  "/.",
  "/a?",
  "/a?%",
  "/é",
  "/;x=1",
  "/a\tb",
];
const VERSIONS = [
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.0",
  "HTTP/1.2",
  "HTTP/2.0",
  "http/1.1",
  "HTTP/1.1 ",
  "HTTP/11",
];
const NAMES = [
  "X-A",
  "Accept",
  "Cookie",
  "User-Agent",
  "X-Forwarded-For",
  "X_Real_IP",
  "X-Consumer-Username",
  "Authorization",
  "Content-Type",
  "Connection",
  "Keep-Alive",
  "TE",
  "Trailer",
  "Upgrade",
  "Expect",
  "Host",
  "Content-Length",
  "Content_Length",
  "Transfer-Encoding",
  "Proxy-Connection",
  "x",
  "!#$%&'*+-.^_`|~",
  "X A",
  "X-A ",
  "",
  "X:A",
  "é",
];
const VALUES = [
  "1",
  "a, b",
  "",
  " padded ",
  "\ttab\t",
  "keep-alive",
  "close",
  "x-a",
  "Upgrade",
  "websocket",
  "h2c",
  "chunked",
  "gzip",
  "100-continue",
  "0",
  "5",
  "05",
  "+5",
  "5, 5",
  "h",
  "h:80",
  "[::1]:80",
  "u@h",
  'a"b;c=\\d',
  "\x80\xff",
  "a\0b",
  "a\rb",
  "a\nb",
  "a\x7fb",
  "\x0b",
  "bytes=0-",
];
const ENDS = [
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\r\n",
  "\n",
  "\r",
  "\r\n ",
  "\n\n",
  "\r\r\n",
];
/** Bytes that mean something to some parser. */
const SPECIAL = [
  "\r",
  "\n",
  "\r\n",
  "\r\n\r\n",
  " ",
  "\t",
  ":",
  "\0",
  "\x7f",
  "\xff",
  "0",
  "A",
  "/",
  "#",
  "%",
  ",",
  ";",
  "\x0b",
];

/** A request that is good in most of its parts. */
export function makeRequest(dice: Dice): string {
  const odd = (list: readonly string[], usual: string, oneIn: number): string =>
    dice.chance(oneIn) ? dice.pick(list) : usual;
  const method = odd(METHODS, dice.pick(["GET", "POST", "PUT", "HEAD"]), 4);
  const end = (): string => odd(ENDS, "\r\n", 40);
  let text = dice.chance(30) ? "\r\n" : "";
  text += `${method} ${odd(TARGETS, "/a/b?c=d", 3)} ${odd(VERSIONS, "HTTP/1.1", 12)}${end()}`;
  if (!dice.chance(25)) text += `Host: ${odd(VALUES, "h.example", 15)}${end()}`;
  for (let left = dice.under(5); left > 0; left--) {
    text += `${odd(NAMES, dice.pick(["X-A", "Accept", "Cookie", "User-Agent"]), 3)}:${odd(["", "  ", "\t"], " ", 6)}${odd(VALUES, "value", 2)}${end()}`;
  }
  const body = method === "POST" || method === "PUT" || dice.chance(8) ? "x".repeat(dice.under(30)) : "";
  if (body !== "" && dice.chance(3)) {
    text += `Transfer-Encoding: ${odd(VALUES, "chunked", 10)}${end()}${end()}`;
    return `${text}${body.length.toString(16)}${odd([";a=b", " ", ";", "x"], "", 5)}\r\n${body}\r\n0\r\n${odd(["X-T: 1\r\n", "bad\r\n"], "", 8)}\r\n`;
  }
  if (body !== "" || dice.chance(10))
    text += `Content-Length: ${odd(["0", "1", "99", "+1", "1, 1", ""], String(body.length), 12)}${end()}`;
  return `${text}${end()}${body}`;
}

/** Damages a text in up to three places, or not at all. */
export function damage(dice: Dice, text: string): string {
  let result = text;
  for (let left = dice.under(4); left > 0; left--) {
    const at = dice.under(result.length + 1);
    switch (dice.under(4)) {
      case 0:
        result = result.slice(0, at) + dice.pick(SPECIAL) + result.slice(at);
        break;
      case 1:
        result = result.slice(0, at) + result.slice(at + 1 + dice.under(3));
        break;
      case 2:
        result = result.slice(0, at) + String.fromCharCode(dice.under(256)) + result.slice(at + 1);
        break;
      default:
        result = result.slice(0, at) + result.slice(Math.max(0, at - dice.under(20)), at) + result.slice(at);
    }
  }
  return result;
}

/**
 * The seeds of a fuzz test: the usual number, FUZZ_FACTOR times as many (50 where a test may take an hour, as in
 * `npm run fuzz`), or the one in FUZZ_SEED.
 */
export function seeds(usual: number, timeoutMs: number): { readonly from: number; readonly to: number } {
  const seed = process.env["FUZZ_SEED"];
  if (seed !== undefined) return { from: Number(seed), to: Number(seed) + 1 };
  const factor = Number(process.env["FUZZ_FACTOR"] ?? (timeoutMs > 600_000 ? 50 : 1));
  return { from: 1, to: 1 + usual * factor };
}
