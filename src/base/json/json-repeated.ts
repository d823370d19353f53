/**
 * Finds members that an object of a JSON text names twice. JSON.parse keeps the last of them, other readers the first:
 * two programs may read one text differently.
 * Cost: one pass over the text; depth is bounded by what parsed it before.
 */

/** @param text valid JSON @returns the first name that repeats, escapes decoded */
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
