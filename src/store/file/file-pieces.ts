/**
 * Cuts a large file of lists into pieces of some hundred records, each a small document of its own, so that reading costs
 * the memory of a piece and not that of the whole file's syntax tree.
 * Promise: a file whose pieces read without a fault means what it means as a whole; a file that is not plainly one mapping of
 * lists (anchors, several documents, odd indentation, a list that stands twice) is not cut.
 * It rests on YAML's indentation: no line inside of a record's texts and flows stands as far left as the dash of the record.
 */

export interface FilePiece {
  /** The member of the file. */
  readonly name: string;
  /** Place in the list of its first record. */
  readonly at: number;
  /** A document with this one member. */
  readonly text: string;
  /** What lines of `text` lack to lines of the file. */
  readonly linesBefore: number;
}

/** Smaller files are read as they are. */
const CUT_BYTES_MIN = 256 * 1024;
const PIECE_CHARS = 128 * 1024;

/** What may be an anchor or an alias, which other pieces would miss; a path such as `/a/*` is none. */
const SHARED = /(?:^|[\s[{,])[&*][^\s,[\]{}]/m;

/** @returns undefined: it is to be read as a whole */
export function cutFile(
  text: string,
  cutMin = CUT_BYTES_MIN,
  pieceChars = PIECE_CHARS,
): readonly FilePiece[] | undefined {
  if (text.length < cutMin) return undefined;
  const pieces = /^\s*\{/.test(text)
    ? cutJson(text, pieceChars)
    : SHARED.test(text)
      ? undefined
      : cutYaml(text, pieceChars);
  return pieces && isOncePerName(pieces) ? pieces : undefined;
}

/** A list is in several pieces, one after the other; a member that stands twice begins anew. */
function isOncePerName(pieces: readonly FilePiece[]): boolean {
  const starts = pieces.filter(({ at }) => at === 0).map(({ name }) => name);
  return new Set(starts).size === starts.length;
}

const MEMBER = /^([A-Za-z_][\w-]*):(?:[ \t]+([^#\s].*))?(?:[ \t]+#.*)?$/;

function cutYaml(text: string, pieceChars: number): readonly FilePiece[] | undefined {
  const pieces: FilePiece[] = [];
  let member: YamlMember | undefined;
  for (let start = 0, line = 0; start < text.length; line++) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline + 1;
    const first = text.charCodeAt(start);
    if (first === SPACE || first === DASH) {
      if (member === undefined || !member.take(text, start, line, pieces, pieceChars)) return undefined;
    } else if (first !== HASH && first !== NEWLINE && first !== RETURN) {
      const [, name, value] = MEMBER.exec(text.slice(start, end).trimEnd()) ?? [];
      if (name === undefined) return undefined;
      member?.end(text, start, pieces);
      member = new YamlMember(name, value === undefined, start, end, line);
    }
    start = end;
  }
  member?.end(text, text.length, pieces);
  return pieces;
}

const [SPACE, DASH, HASH, NEWLINE, RETURN] = [0x20, 0x2d, 0x23, 0x0a, 0x0d];

/** One member of a YAML file while its lines are gone through. */
class YamlMember {
  readonly #name: string;
  readonly #headStart: number;
  readonly #headLine: number;
  /** Column of the dashes; -1: it is no list; undefined: nothing of it was seen. */
  #column: number | undefined;
  #start = 0;
  #line = 0;
  #at = 0;
  #count = 0;

  /** @param mayBeList its first line has no value @param start of that line @param end behind it */
  constructor(name: string, mayBeList: boolean, start: number, end: number, line: number) {
    this.#name = name;
    this.#column = mayBeList ? undefined : -1;
    this.#headStart = start;
    this.#headLine = line;
    this.#start = end;
    this.#line = line + 1;
  }

  /** @param start of a line that is indented or begins with a dash @returns whether it is where it belongs */
  take(text: string, start: number, line: number, pieces: FilePiece[], pieceChars: number): boolean {
    let column = 0;
    while (text.charCodeAt(start + column) === SPACE) column++;
    const first = text.charCodeAt(start + column);
    if (first === NEWLINE || first === RETURN || first === HASH || Number.isNaN(first)) return true;
    const isDash = first === DASH && /^-[ \r\n]/.test(text.slice(start + column, start + column + 2));
    this.#column ??= isDash ? column : -1;
    if (this.#column === -1) return column > 0;
    if (column > this.#column) return true;
    if (column < this.#column || !isDash) return false;
    if (this.#count > 0 && start - this.#start > pieceChars) {
      pieces.push(this.#piece(text, start));
      this.#at += this.#count;
      this.#count = 0;
      this.#start = start;
      this.#line = line;
    }
    this.#count++;
    return true;
  }

  end(text: string, end: number, pieces: FilePiece[]): void {
    if (this.#column === undefined || this.#column === -1)
      pieces.push({
        ...{ name: this.#name, at: 0, text: text.slice(this.#headStart, end), linesBefore: this.#headLine },
      });
    else pieces.push(this.#piece(text, end));
  }

  #piece(text: string, end: number): FilePiece {
    const { linesBefore, body } = { linesBefore: this.#line - 1, body: text.slice(this.#start, end) };
    return { name: this.#name, at: this.#at, text: `${this.#name}:\n${body}`, linesBefore };
  }
}

/** Strict JSON, as programs write it: whatever else stands there makes the file one that is read as a whole. */
function cutJson(text: string, pieceChars: number): readonly FilePiece[] | undefined {
  const pieces: FilePiece[] = [];
  const lines = new LineWalk(text);
  let at = skipBlank(text, 0) + 1;
  for (;;) {
    at = skipBlank(text, at);
    if (text[at] === "}" && pieces.length === 0) return undefined;
    if (text[at] !== '"') return undefined;
    const keyEnd = stringEnd(text, at);
    const name = keyEnd === undefined ? undefined : plainName(text.slice(at, keyEnd));
    if (keyEnd === undefined || name === undefined) return undefined;
    const keyStart = at;
    at = skipBlank(text, keyEnd);
    if (text[at] !== ":") return undefined;
    at = skipBlank(text, at + 1);
    const end = text[at] === "[" ? cutJsonList(text, name, at, lines, pieces, pieceChars) : valueEnd(text, at);
    if (end === undefined) return undefined;
    if (text[at] !== "[")
      pieces.push({ name, at: 0, text: `{${text.slice(keyStart, end)}}`, linesBefore: lines.before(keyStart) });
    at = skipBlank(text, end);
    if (text[at] === "}") return /^\s*(?:#END\s*)?$/.test(text.slice(at + 1)) ? pieces : undefined;
    if (text[at] !== ",") return undefined;
    at++;
  }
}

/** @returns where the list ends */
function cutJsonList(
  text: string,
  name: string,
  open: number,
  lines: LineWalk,
  pieces: FilePiece[],
  pieceChars: number,
): number | undefined {
  let start = open + 1;
  let first = 0;
  let count = 0;
  const push = (end: number): void => {
    const linesBefore = lines.before(start);
    pieces.push({ name, at: first, text: `{${JSON.stringify(name)}:[${text.slice(start, end)}]}`, linesBefore });
    first += count;
    count = 0;
  };
  for (let at = skipBlank(text, start); ; ) {
    if (text[at] === "]" && count === 0 && first === 0) {
      push(at);
      return at + 1;
    }
    const end = valueEnd(text, at);
    if (end === undefined) return undefined;
    count++;
    at = skipBlank(text, end);
    if (text[at] === "]") {
      push(at);
      return at + 1;
    }
    if (text[at] !== ",") return undefined;
    if (at - start > pieceChars) {
      push(at);
      start = at + 1;
    }
    at = skipBlank(text, at + 1);
  }
}

/** Lines before a place; places come in order. */
class LineWalk {
  readonly #text: string;
  #at = 0;
  #lines = 0;

  constructor(text: string) {
    this.#text = text;
  }

  before(place: number): number {
    for (let next = this.#text.indexOf("\n", this.#at); next >= 0 && next < place; ) {
      this.#lines++;
      this.#at = next + 1;
      next = this.#text.indexOf("\n", this.#at);
    }
    return this.#lines;
  }
}

function skipBlank(text: string, from: number): number {
  let at = from;
  while (at < text.length && " \n\r\t".includes(text[at] as string)) at++;
  return at;
}

const STRING = /"(?:[^"\\\n]|\\.)*"/y;

function stringEnd(text: string, from: number): number | undefined {
  STRING.lastIndex = from;
  return STRING.test(text) ? STRING.lastIndex : undefined;
}

function plainName(quoted: string): string | undefined {
  return /^"[\w-]+"$/.test(quoted) ? quoted.slice(1, -1) : undefined;
}

const TOKEN = /"(?:[^"\\\n]|\\.)*"|[{}[\],:]|[ \n\r\t]+|-?\d[\d.eE+-]*|true|false|null/y;

/** @returns behind one value that begins here; undefined: it does not end, or holds what JSON does not */
function valueEnd(text: string, from: number): number | undefined {
  let depth = 0;
  for (let at = from; ; ) {
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(text)?.[0];
    if (token === undefined) return undefined;
    const first = token[0] as string;
    if ("{[".includes(first)) depth++;
    else if ("}]".includes(first)) depth--;
    if (depth < 0 || (depth === 0 && ",:".includes(first))) return undefined;
    at += token.length;
    if (depth === 0 && !" \n\r\t".includes(first)) return at;
  }
}
