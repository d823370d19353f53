/**
 * A mutable list of HTTP header lines that keeps order and spelling, as they came or will be sent.
 * Lines sit in one flat array [name, value, name, value, …]; look-ups compare without case.
 * Promise: nothing is joined, split or re-cased behind the caller's back.
 */
function sameName(name: string, lower: string): boolean {
  return name.length === lower.length && (name === lower || name.toLowerCase() === lower);
}

export class HeaderList {
  /** Flat [name, value, …]; owned by this list. */
  readonly lines: string[];

  constructor(lines: string[] = []) {
    this.lines = lines;
  }

  /** The first value. @param lower the name in lower case */
  get(lower: string): string | undefined {
    const lines = this.lines;
    for (let i = 0; i < lines.length; i += 2) if (sameName(lines[i] as string, lower)) return lines[i + 1];
    return undefined;
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

  /** Replaces every line of that name by one; the first keeps its place. `name` may be in any case. */
  set(name: string, value: string): void {
    const lower = name.toLowerCase();
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
    const removed = kept !== lines.length;
    lines.length = kept;
    return removed;
  }
}
