/**
 * A mutable list of HTTP header lines that keeps order and spelling, as they came or will be sent.
 * Lines sit in one flat array [name, value, name, value, …]; look-ups compare without case.
 * Promise: nothing is joined, split or re-cased behind the caller's back.
 */
function sameName(name: string, lower: string): boolean {
  const { length } = name;
  if (length !== lower.length) return false;
  if (name === lower) return true;
  for (let i = 0; i < length; i++) {
    const code = name.charCodeAt(i);
    if (code !== lower.charCodeAt(i) && (code < 0x41 || code > 0x5a || (code | 0x20) !== lower.charCodeAt(i)))
      return false;
  }
  return true;
}

/** All lines that went upstream, with what they were made of beside those received. */
interface SentBlock {
  readonly caller: string;
  readonly forwarded: string;
  readonly text: string;
}

/** Lines as a client sends them again and again, with texts that are made of them once. Nobody changes them. */
export class ReceivedLines {
  readonly lines: readonly string[];
  /** How the gateway sends them on; "": not in the same way each time; undefined: not made yet. */
  sentText: string | undefined = undefined;
  /** The block that was sent last. */
  sent: SentBlock | undefined = undefined;
  #value = "";
  #start = 0;
  #rest = "";

  constructor(lines: readonly string[]) {
    this.lines = lines;
  }

  /** Whether `lines` begin with these. */
  begin(lines: readonly string[]): boolean {
    const mine = this.lines;
    if (lines.length < mine.length) return false;
    for (let i = 0; i < mine.length; i++) if (mine[i] !== lines[i]) return false;
    return true;
  }

  /** `value.slice(start)`; of the same value the same text again, so that it is hashed once. */
  rest(value: string, start: number): string {
    if (value !== this.#value || start !== this.#start) {
      this.#value = value;
      this.#start = start;
      this.#rest = value.slice(start);
    }
    return this.#rest;
  }
}

export class HeaderList {
  /** Flat [name, value, …]; owned by this list. */
  readonly lines: string[];
  /** What `lines` were at first, where that comes again and again. */
  readonly received: ReceivedLines | undefined;

  constructor(lines: string[] = [], received?: ReceivedLines) {
    this.lines = lines;
    this.received = received;
  }

  /** `value.slice(start)` of a value in this list, without cutting one anew that came before. */
  restOf(value: string, start: number): string {
    return this.received ? this.received.rest(value, start) : value.slice(start);
  }

  /** The first value. @param lower the name in lower case */
  get(lower: string): string | undefined {
    const lines = this.lines;
    for (let i = 0; i < lines.length; i += 2) if (sameName(lines[i] as string, lower)) return lines[i + 1];
    return undefined;
  }

  /** The value of the only line of that name; undefined: there is none, null: there are several. @param lower the name in lower case */
  only(lower: string): string | undefined | null {
    const lines = this.lines;
    let found: string | undefined;
    for (let i = 0; i < lines.length; i += 2) {
      if (!sameName(lines[i] as string, lower)) continue;
      if (found !== undefined) return null;
      found = lines[i + 1];
    }
    return found;
  }

  /** All values in order. @param lower the name in lower case */
  getAll(lower: string): string[] {
    const lines = this.lines;
    const found: string[] = [];
    for (let i = 0; i < lines.length; i += 2)
      if (sameName(lines[i] as string, lower)) found.push(lines[i + 1] as string);
    return found;
  }

  has(lower: string): boolean {
    return this.get(lower) !== undefined;
  }

  /**
   * Replaces every line of that name by one; the first keeps its place. `name` may be in any case.
   * @param lower the name in lower case, for those who have it
   */
  set(name: string, value: string, lower = name.toLowerCase()): void {
    const lines = this.lines;
    for (let i = 0; i < lines.length; i += 2) {
      if (!sameName(lines[i] as string, lower)) continue;
      lines[i] = name;
      lines[i + 1] = value;
      this.#removeFrom(lower, i + 2);
      return;
    }
    lines.push(name, value);
  }

  /** Adds a line, whatever is there. */
  append(name: string, value: string): void {
    this.lines.push(name, value);
  }

  /** Removes every line of that name. @returns whether there was one */
  remove(lower: string): boolean {
    return this.#removeFrom(lower, 0);
  }

  /** Removes every line whose lower-cased name satisfies `drop`. */
  removeWhere(drop: (lowerName: string) => boolean): void {
    const lines = this.lines;
    let kept = 0;
    for (let i = 0; i < lines.length; i += 2) {
      const name = lines[i] as string;
      if (drop(name.toLowerCase())) continue;
      lines[kept] = name;
      lines[kept + 1] = lines[i + 1] as string;
      kept += 2;
    }
    lines.length = kept;
  }

  #removeFrom(lower: string, start: number): boolean {
    const lines = this.lines;
    let kept = start;
    for (let i = start; i < lines.length; i += 2) {
      const name = lines[i] as string;
      if (sameName(name, lower)) continue;
      if (kept !== i) {
        lines[kept] = name;
        lines[kept + 1] = lines[i + 1] as string;
      }
      kept += 2;
    }
    if (kept === lines.length) return false; // writing the length, even the same, is slow
    lines.length = kept;
    return true;
  }
}
