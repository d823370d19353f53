/**
 * Reads JSON that strangers send (admin bodies, expressions): strict UTF-8, bounded depth, no numbers that lose
 * precision, no member names that could reach a prototype. Errors are worded as lua-cjson words them.
 * Source: docs/spec/admin-api.md section 3.
 */
export type JsonResult =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: string };

export const JSON_DEPTH_MAX = 64;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function parseJson(input: string | Uint8Array): JsonResult {
  let text: string;
  try {
    text = typeof input === "string" ? input : decoder.decode(input);
  } catch {
    return { ok: false, error: "invalid UTF-8" };
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    try {
      value = JSON.parse(escapeControls(text));
    } catch {
      return { ok: false, error: new Locator(text).locate() };
    }
  }
  const error = halfPairError(text) ?? findForbidden(value, 1);
  return error === undefined ? { ok: true, value } : { ok: false, error };
}

/**
 * Writes control characters inside strings as escapes. JSON forbids the bare ones (RFC 8259 section 7), lua-cjson takes
 * all but NUL, and the usual way to send a certificate, `-d "{\"cert\": \"$(cat cert.pem)\"}"`, leans on that.
 */
function escapeControls(text: string): string {
  let written = "";
  let from = 0;
  let inside = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) inside = !inside;
    else if (!inside) continue;
    else if (code === 0x5c) i++;
    else if (code < 0x20 && code > 0) {
      written += `${text.slice(from, i)}\\u${code.toString(16).padStart(4, "0")}`;
      from = i + 1;
    }
  }
  return written + text.slice(from);
}

const SURROGATE = /\\u[dD][89a-fA-F]/;
const BAD_UNICODE = "invalid unicode escape code";

/** Half a surrogate pair is no character: UTF-8 has no bytes for it, and lua-cjson refuses to read it back. */
function halfPairError(text: string): string | undefined {
  if (!SURROGATE.test(text)) return undefined;
  const located = new Locator(text).locate();
  return located.includes(BAD_UNICODE) ? located : undefined;
}

function findForbidden(value: unknown, depth: number): string | undefined {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return "Found a number that is out of range";
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? "Found an integer beyond 2^53" : undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  if (depth > JSON_DEPTH_MAX) return `Found too many nested data structures (${depth})`;
  if (Array.isArray(value)) {
    for (const item of value) {
      const error = findForbidden(item, depth + 1);
      if (error !== undefined) return error;
    }
    return undefined;
  }
  for (const [name, member] of Object.entries(value)) {
    if (name === "__proto__" || (name === "constructor" && hasPrototype(member))) {
      return `Found a forbidden object key: ${name}`;
    }
    const error = findForbidden(member, depth + 1);
    if (error !== undefined) return error;
  }
  return undefined;
}

function hasPrototype(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.hasOwn(value, "prototype");
}

interface Token {
  readonly kind: "{" | "}" | "[" | "]" | ":" | "," | "string" | "number" | "boolean" | "null" | "end" | "bad";
  readonly at: number;
  /** What the message calls it. */
  readonly name: string;
}

const PUNCTUATION: Readonly<Record<string, string>> = {
  "{": "T_OBJ_BEGIN",
  "}": "T_OBJ_END",
  "[": "T_ARR_BEGIN",
  "]": "T_ARR_END",
  ":": "T_COLON",
  ",": "T_COMMA",
};

/** Finds where a text that JSON.parse refused stops being JSON. Iterative, so depth costs nothing. */
class Locator {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  locate(): string {
    const open: ("{" | "[")[] = [];
    let state: "value" | "key" | "keyOrEnd" | "valueOrEnd" | "after" = "value";
    for (;;) {
      let token = this.#next();
      if (state === "keyOrEnd" || state === "key") {
        if (token.kind === "}" && state === "keyOrEnd") {
          open.pop();
          state = "after";
          continue;
        }
        if (token.kind !== "string") return expected("object key string", token);
        token = this.#next();
        if (token.kind !== ":") return expected("colon", token);
        state = "value";
      } else if (state === "after") {
        const inside = open.at(-1);
        if (inside === undefined)
          return token.kind === "end"
            ? "Expected value but found invalid token at character 1"
            : expected("the end", token);
        if (token.kind === (inside === "{" ? "}" : "]")) open.pop();
        else if (token.kind !== ",")
          return expected(inside === "{" ? "comma or object end" : "comma or array end", token);
        else state = inside === "{" ? "key" : "value";
      } else if (token.kind === "]" && state === "valueOrEnd") {
        open.pop();
        state = "after";
      } else if (token.kind === "{" || token.kind === "[") {
        open.push(token.kind);
        state = token.kind === "{" ? "keyOrEnd" : "valueOrEnd";
      } else if (["string", "number", "boolean", "null"].includes(token.kind)) state = "after";
      else return expected("value", token);
    }
  }

  #next(): Token {
    const text = this.#text;
    while (/[ \t\r\n]/.test(text[this.#at] ?? "")) this.#at++;
    const at = this.#at;
    const first = text[at];
    if (first === undefined) return { kind: "end", at, name: "T_END" };
    const name = PUNCTUATION[first];
    if (name !== undefined) {
      this.#at++;
      return { kind: first as "{", at, name };
    }
    if (first === '"') return this.#string(at);
    return (
      this.#word(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y, "number", "T_NUMBER") ??
      this.#word(/true|false/y, "boolean", "T_BOOLEAN") ??
      this.#word(/null/y, "null", "T_NULL") ?? { kind: "bad", at, name: "invalid token" }
    );
  }

  #word(pattern: RegExp, kind: Token["kind"], name: string): Token | undefined {
    const at = this.#at;
    pattern.lastIndex = at;
    if (!pattern.test(this.#text)) return undefined;
    this.#at = pattern.lastIndex;
    return { kind, at, name };
  }

  #string(at: number): Token {
    const text = this.#text;
    for (let i = at + 1; i < text.length; i++) {
      const char = text[i] as string;
      if (char === '"') {
        this.#at = i + 1;
        return { kind: "string", at, name: "T_STRING" };
      }
      if (char === "\0") return { kind: "bad", at: i, name: "unexpected end of string" };
      if (char !== "\\") continue;
      i++;
      const escaped = text[i] ?? "";
      if (escaped === "u") {
        const code = unicodeAt(text, i + 1);
        const isPair = isHigh(code) && text.startsWith("\\u", i + 5) && isLow(unicodeAt(text, i + 7));
        if (code === undefined || isLow(code) || (isHigh(code) && !isPair))
          return { kind: "bad", at: i - 1, name: BAD_UNICODE };
        if (isPair) i += 10;
      } else if (escaped !== "" && !'"\\/bfnrt'.includes(escaped))
        return { kind: "bad", at: i - 1, name: "invalid escape code" };
    }
    return { kind: "bad", at: text.length, name: "unexpected end of string" };
  }
}

function expected(what: string, found: Token): string {
  return `Expected ${what} but found ${found.name} at character ${found.at + 1}`;
}

function unicodeAt(text: string, at: number): number | undefined {
  const digits = text.slice(at, at + 4);
  return /^[0-9a-fA-F]{4}$/.test(digits) ? Number.parseInt(digits, 16) : undefined;
}

function isHigh(code: number | undefined): boolean {
  return code !== undefined && code >= 0xd800 && code < 0xdc00;
}

function isLow(code: number | undefined): boolean {
  return code !== undefined && code >= 0xdc00 && code < 0xe000;
}

/**
 * The first member that an object of a JSON text names twice. JSON.parse keeps the last of them, other readers the first:
 * two programs may read one text differently. Cost: one pass over the text; depth is bounded by what parsed it before.
 * @param text valid JSON @returns the name, escapes decoded
 */
export function repeatedMember(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // undefined: an array
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b:
        open.push(new Set());
        break;
      case 0x5b:
        open.push(undefined);
        break;
      case 0x7d:
      case 0x5d:
        open.pop();
        break;
      case 0x22: {
        const end = endOfString(text, at);
        const names = open.at(-1);
        if (names && isName(text, end)) {
          const name = nameIn(text.slice(at, end));
          if (names.has(name)) return name;
          names.add(name);
        }
        at = end - 1;
        break;
      }
    }
  }
  return undefined;
}

/** @returns the position after the closing quote */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at + 1;
  }
  return text.length;
}

/** A string is a name if a colon follows. */
function isName(text: string, from: number): boolean {
  let at = from;
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++;
  return text.charCodeAt(at) === 0x3a;
}

/** With escapes, "\u0061" is "a". */
function nameIn(quoted: string): string {
  return quoted.includes("\\") ? String(JSON.parse(quoted)) : quoted.slice(1, -1);
}
