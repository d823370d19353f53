/**
 * Secret references: strings that stand for a value kept elsewhere (`$ENV://NAME`, `$secret://vault/1/path/key`).
 * Only the syntax is known here; resolving them is the work of floor `secret`.
 * Source: docs/spec/secrets.md section 1.
 */
export type Reference =
  | { readonly kind: "env"; readonly name: string; readonly sub?: string }
  | { readonly kind: "secret"; readonly manager: string; readonly id: string; readonly key: string };

const ENV = "$env://";
const SECRET = "$secret://";

/** Whether the whole text is a reference: `$secret://` in lower case, `$ENV://` in any. Cost: one character for most. */
export function isReference(text: string): boolean {
  if (text.charCodeAt(0) !== 0x24) return false;
  return text.startsWith(SECRET) || text.slice(0, ENV.length).toLowerCase() === ENV;
}

/** @returns the parts, or why the text is no reference that could ever be resolved. */
export function parseReference(text: string): Reference | string {
  if (text.startsWith(SECRET)) return parseSecret(text.slice(SECRET.length));
  if (!isReference(text)) return "error format: not a secret reference";
  const rest = text.slice(ENV.length);
  const slash = rest.indexOf("/");
  const name = slash < 0 ? rest : rest.slice(0, slash);
  if (name === "") return "error format: no environment variable name";
  return slash < 0 || slash === rest.length - 1
    ? { kind: "env", name }
    : { kind: "env", name, sub: rest.slice(slash + 1) };
}

function parseSecret(path: string): Reference | string {
  const first = path.indexOf("/");
  if (first <= 0) return "error format: no secret manager";
  const second = path.indexOf("/", first + 1);
  if (second <= first + 1) return "error format: no secret conf id";
  const key = path.slice(second + 1);
  if (key === "") return "error format: no secret key id";
  return { kind: "secret", manager: path.slice(0, first), id: path.slice(first + 1, second), key };
}
