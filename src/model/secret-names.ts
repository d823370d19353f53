/**
 * What is a secret by its name or by its look: the one list for logs, masks, the history, the Control API and sealing.
 * Promise: more counts as secret than must, never less; every pattern is linear in the length of the text. Pure.
 */

/** Words that make a name one of a secret wherever they stand in it. */
const ALWAYS =
  /secret|passw|passphrase|token|private|credential|api[_-]?key|access[_-]?key|client[_-]?key|authorization/i;
/** Words that do when they are a part of the name, or its end. */
const PART =
  /(?:^|[-_.])(?:x?auth|authentication|authn|key|sign?|sid|pass|pwd|code|otp|ticket|assertion|cookie|session|bearer|pat|sas|dsn|license)(?:$|[-_.])/i;
const END = /(?:jwt|pwd|pass|authkey|signature|cookie2?|session(?:id)?)$/i;

/** Whether it names a secret even where a schema says that it is a setting. */
export function isSurelySecretName(name: string): boolean {
  return ALWAYS.test(name);
}

/** Whether a header, an argument, a cookie or a member of this name is taken for a secret. */
export function isSecretName(name: string): boolean {
  if (ALWAYS.test(name) || PART.test(name) || END.test(name)) return true;
  const apart = name.replace(CAMEL, "$1_$2");
  return apart !== name && (ALWAYS.test(apart) || PART.test(apart));
}

const CAMEL = /([a-z0-9])([A-Z])/g;

/**
 * Hides what looks like a secret inside a text: user and password of a URI, arguments and members with secret names, header
 * lines, `Bearer …`, JSON web tokens, private keys.
 * @param mark what is shown instead @returns the same text when there is nothing
 */
export function hideSecrets(text: string, mark: string): string {
  if (text.length < 4) return text; // nothing that short is found below
  let shown = text;
  if (text.includes("PRIVATE KEY")) shown = shown.replace(PEM, mark);
  if (text.includes("@")) shown = shown.replace(USER_INFO, `$1${mark}@`).replace(BARE_USER, `${mark}@`);
  if (text.includes(":")) shown = shown.replace(HEADER_LINE, hideNamed(mark)).replace(MEMBER, hideMember(mark));
  if (text.includes("=")) shown = hideArguments(shown, mark);
  return hideTokens(shown, mark);
}

const PEM = /-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g;
const USER_INFO = /((?:\\?\/){2})[^/?#\s"'<>\\]*@/g;
const BARE_USER = /^[^\s/:@?#]+:[^\s/@]+@/;
const HEADER_LINE = /^([\w-]+)(:\s*)(\S.*)$/s;
const MEMBER = /(["'])([^"'\\]{1,64})\1(\s{0,8}:\s{0,8})"((?:[^"\\]|\\.)*)"/g;

function hideNamed(mark: string) {
  return (line: string, name: string, colon: string): string => (isSecretName(name) ? `${name}${colon}${mark}` : line);
}

function hideMember(mark: string) {
  return (member: string, quote: string, name: string, colon: string): string =>
    isSecretName(name) ? `${quote}${name}${quote}${colon}"${mark}"` : member;
}

const ARGUMENT = /(?:^|[?&;,\s])([^=&?#;,\s"']{1,128})=/g;
const VALUE = /[^&#\s"']*/y;

/** `name=value` after ?, &, a semicolon, a comma or a space, and at the start. */
function hideArguments(text: string, mark: string): string {
  let shown = "";
  let from = 0;
  for (const found of text.matchAll(ARGUMENT)) {
    const start = found.index + found[0].length;
    if (start < from || !isSecretName(decoded(found[1] ?? ""))) continue;
    VALUE.lastIndex = start;
    const value = VALUE.exec(text)?.[0] ?? "";
    if (value === "") continue;
    shown += text.slice(from, start) + mark;
    from = start + value.length;
  }
  return from === 0 ? text : shown + text.slice(from);
}

function decoded(name: string): string {
  if (!name.includes("%")) return name;
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // what is broken names nothing else
  }
}

/** A scheme of RFC 9110 and what follows it, where that is no plain word. */
const SCHEME = /\b([Bb]earer|BEARER|[Bb]asic|BASIC|[Dd]igest|[Nn]egotiate)(\s+)(?=\S*[0-9A-Z=_.])[\w+/=.~-]+/g;
/** Words joined by dots, escaped ones too; each is looked at once, so that the time is linear. */
const DOTTED = /(?<![\w-])[\w-]+(?:(?:\.|%2e)[\w-]+)+/gi;

function hideTokens(text: string, mark: string): string {
  const shown = hideJwts(text, mark);
  return shown.includes(" ") ? shown.replace(SCHEME, `$1$2${mark}`) : shown;
}

/** JSON web tokens begin with `{"` in base64url; the last part may be missing. */
export function hideJwts(text: string, mark: string): string {
  if (!text.includes("eyJ")) return text;
  return text.replace(DOTTED, (words) => {
    const start = words.indexOf("eyJ");
    const isToken = start >= 0 && /\.|%2e/i.test(words.slice(start));
    return isToken ? words.slice(0, start) + mark : words;
  });
}
