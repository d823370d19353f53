/**
 * Makes data from a JSON schema, from its examples where it has them, at random elsewhere.
 * Promise: the depth is bounded; what has no known type is left out.
 */
export interface ExampleSchema {
  readonly type?: string;
  readonly example?: unknown;
  readonly properties?: Readonly<Record<string, ExampleSchema>>;
  readonly items?: ExampleSchema;
}

const DEPTH_MAX = 32;
const LETTERS = "abcdefghijklmnopqrstuvwxyz";

export function makeExample(schema: ExampleSchema, depth = 0): unknown {
  if (depth > DEPTH_MAX) return undefined;
  const { example } = schema;
  switch (typeof schema.type === "string" ? schema.type.toLowerCase() : "") {
    case "object":
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, makeExample(inner, depth + 1)]),
      );
    case "array": {
      const { items } = schema;
      return items && Array.from({ length: pick(1, 3) }, () => makeExample(items, depth + 1));
    }
    case "string":
      return typeof example === "string"
        ? example
        : Array.from({ length: pick(1, 10) }, () => LETTERS[pick(0, 25)]).join("");
    case "number":
      return typeof example === "number" ? example : Math.random() * 10_000;
    case "integer":
      return typeof example === "number" ? Math.floor(example) : pick(1, 10_000);
    case "boolean":
      return typeof example === "boolean" ? example : Math.random() < 0.5;
    default:
      return undefined;
  }
}

/** Data as elements; an array repeats its element. */
export function toXml(name: string, value: unknown): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.map((item) => toXml(name, item)).join("");
  const inner =
    typeof value === "object" && value !== null
      ? Object.entries(value)
          .map(([member, one]) => toXml(member, one))
          .join("")
      : escapeXml(String(value));
  return `<${name}>${inner}</${name}>`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function pick(from: number, to: number): number {
  return from + Math.floor(Math.random() * (to - from + 1));
}
