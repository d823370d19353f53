/**
 * What a looser reader could take a normalised path for: one that decodes it again, takes a backslash for a slash, cuts
 * `;parameters` off, or all of these.
 * Promise: a path is refused when any of those readers would find a dot segment in it; the other readings are handed out,
 * so that policy can ask whether they would be judged alike.
 */

/** Escapes inside escapes; more of them than this nobody means. */
const DEPTH_MAX = 3;
const DOUBTFUL = /[;\\]|%[0-9a-f]{2}/i;
const DOT_SEGMENT = /(?:^|[/\0])\.\.?(?:[/\0]|$)/;
export const NO_READINGS: readonly string[] = Object.freeze([]);

/**
 * @param path decoded once and normalised; `%2F` in it, where `keepsSlashes`, is an encoded slash and stays one
 * @returns readings that differ from `path`, undefined when one of them climbs
 * Cost: one test where there is neither `;` nor `\` nor an escape left.
 */
export function otherReadings(path: string, keepsSlashes = false): readonly string[] | undefined {
  if (!DOUBTFUL.test(path)) return NO_READINGS;
  const found = new Set<string>();
  // NUL cannot be in a path: it stands for a slash that is none.
  let text = keepsSlashes ? path.replaceAll("%2F", "\0") : path;
  for (let depth = 0; ; depth++) {
    for (const reading of looseForms(text)) {
      if (DOT_SEGMENT.test(reading)) return undefined;
      found.add(reading.replace(/\/{2,}/g, "/").replaceAll("\0", "%2F"));
    }
    const next = decodeAgain(text);
    if (next === text) break;
    if (depth === DEPTH_MAX) return undefined;
    text = next;
  }
  found.delete(path);
  return found.size === 0 ? NO_READINGS : [...found];
}

/** Whether some reader would find a dot segment in a path that was made from a client's data. */
export function isClimbing(path: string): boolean {
  return DOT_SEGMENT.test(path) || otherReadings(path) === undefined;
}

function looseForms(text: string): readonly string[] {
  const slashed = text.replaceAll("\\", "/");
  return [text, cutParameters(text), slashed, cutParameters(slashed)];
}

function cutParameters(text: string): string {
  return text.replace(/;[^/]*/g, "");
}

/** Decodes what escapes there are; bytes that are no UTF-8 are read as latin1. */
function decodeAgain(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
    const bytes = Buffer.from(escapes.replaceAll("%", ""), "hex");
    const read = bytes.toString("utf8");
    return (read.includes("\ufffd") ? bytes.toString("latin1") : read).replaceAll("\0", "\ufffd");
  });
}
