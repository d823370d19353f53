/**
 * One file of configuration, YAML or JSON, as plain values: anchors and merge keys resolved, variables of the environment
 * filled in.
 * Promise: bounded in what aliases expand to; no message repeats text of the file beyond names of members, since values may
 * be secrets.
 */
import {
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type ParsedNode,
  parseDocument,
  type YAMLMap,
} from "yaml";
import { isMembers } from "../../base/json/members.ts";

export interface FileFault {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** `routes[3].uri`; empty: the file as a whole. */
  readonly place: string;
  readonly text: string;
}

export type FileEnvironment = Readonly<Record<string, string | undefined>>;

export interface FileDocument {
  /** Undefined when there are faults. */
  readonly value: unknown;
  readonly faults: readonly FileFault[];
  /** Line of a member, or of the nearest one above it that the file has. */
  lineOf(path: readonly (string | number)[]): number;
}

/** `gateway.yaml line 3: routes[0].uri: text` */
export function faultText({ file, line, place, text }: FileFault): string {
  return `${file} line ${line}: ${place === "" ? "" : `${place}: `}${text}`;
}

export function placeOf(path: readonly (string | number)[]): string {
  return path.map((part, at) => (typeof part === "number" ? `[${part}]` : at === 0 ? part : `.${part}`)).join("");
}

/** Values in one file, those that aliases repeat counted as often as they stand there. */
const VALUES_MAX = 5_000_000;

/** @param environment undefined: variables stay as they stand there */
export function readDocument(text: string, file: string, environment: FileEnvironment | undefined): FileDocument {
  const lines = new LineCounter();
  // Merge keys are YAML 1.1's, which APISIX reads.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, merge: true });
  const at = (offset: number | undefined): number => lines.linePos(offset ?? 0).line;
  const lineOf = (path: readonly (string | number)[]): number => at(offsetOf(document.contents, path));
  const invalid = document.errors
    .map((error) => ({
      ...{ file, line: at(error.pos[0]), place: "" },
      text: `not valid YAML or JSON (${error.code.toLowerCase().replaceAll("_", " ")})`,
    }))
    .filter((one, n, all) => all.findIndex(({ line, text: same }) => line === one.line && same === one.text) === n);
  if (invalid.length > 0) return { value: undefined, faults: invalid, lineOf };
  const faults: FileFault[] = [];
  const reader = new ValueReader(environment, (node, path, what) => {
    faults.push({ file, line: at(node?.range?.[0]), place: placeOf(path), text: what });
  });
  const value = reader.read(document.contents as Node | null, []);
  return { value: faults.length > 0 ? undefined : value, faults, lineOf };
}

type Path = readonly (string | number)[];
type Say = (node: Node | null, path: Path, what: string) => void;

class ValueReader {
  readonly #environment: FileEnvironment | undefined;
  readonly #say: Say;
  readonly #anchors = new Map<string, { readonly value: unknown; readonly size: number }>();
  #size = 0;

  constructor(environment: FileEnvironment | undefined, say: Say) {
    this.#environment = environment;
    this.#say = say;
  }

  read(node: Node | null, path: Path): unknown {
    if (isAlias(node)) return this.#alias(node.source, node, path);
    const before = this.#size++;
    const value = this.#plain(node, path);
    if ((isScalar(node) || isCollection(node)) && node.anchor !== undefined)
      this.#anchors.set(node.anchor, { value, size: this.#size - before });
    return value;
  }

  #plain(node: Node | null, path: Path): unknown {
    if (isMap(node)) return this.#map(node, path);
    if (isSeq(node)) return node.items.map((item, at) => this.read(item as Node | null, [...path, at]));
    if (!isScalar(node)) return null;
    if (typeof node.value === "bigint") return Number(node.value);
    if (typeof node.value !== "string") return node.value;
    const text = this.#filled(node.value, node, path);
    return node.type === "PLAIN" && text !== node.value ? typed(text) : text;
  }

  /** Aliases share one value, so that a file cannot grow in memory by them; written out it can, hence the count. */
  #alias(source: string, node: Node, path: Path): unknown {
    const anchor = this.#anchors.get(source);
    if (anchor === undefined) {
      this.#say(node, path, `there is no anchor &${source} before it; quote text that begins with *`);
      return null;
    }
    this.#size += anchor.size;
    if (this.#size <= VALUES_MAX) return anchor.value;
    this.#say(node, path, `aliases repeat more than ${VALUES_MAX} values`);
    this.#anchors.clear();
    return null;
  }

  #map(node: YAMLMap, path: Path): Record<string, unknown> {
    const merged: [string, unknown][] = [];
    const own: [string, unknown][] = [];
    for (const { key, value } of node.items) {
      if (isScalar(key) && typeof key.value === "symbol") merged.push(...this.#merged(value as Node, path));
      else if (!isScalar(key)) this.#say(key as Node | null, path, "a member's name must be a text");
      else {
        const name = this.#filled(String(key.value), key, path);
        own.push([name, this.read(value as Node | null, [...path, name])]);
      }
    }
    // What stands there itself counts; of several that are merged, the first. Defined, so that __proto__ is a name.
    return Object.fromEntries([...merged.reverse(), ...own]);
  }

  #merged(node: Node | null, path: Path): [string, unknown][] {
    const sources = isSeq(node) ? (node.items as Node[]) : [node];
    return sources.flatMap((source) => {
      const value = this.read(source, path);
      if (isMembers(value)) return Object.entries(value);
      this.#say(source, path, "<< merges mappings only");
      return [];
    });
  }

  #filled(text: string, node: Node, path: Path): string {
    const environment = this.#environment;
    if (environment === undefined || !text.includes("${")) return text;
    return text.replace(VARIABLE, (whole, dollar: string, upper?: string, any?: string, fallback?: string) => {
      if (dollar !== "") return whole.slice(1);
      const name = upper ?? any ?? "";
      const value = environment[name] ?? fallback;
      if (value !== undefined) return value;
      this.#say(
        node,
        path,
        `the environment variable ${name} is not set (a $ more in front stands for the text itself)`,
      );
      return "";
    });
  }
}

/** `${NAME}`; APISIX's `${{name}}` and `${{name:=otherwise}}`; `$${NAME}` is the text `${NAME}`. */
const VARIABLE = /(\$?)\$\{(?:([A-Z_][A-Z0-9_]*)|\{([A-Za-z_]\w*)(?::=([^{}]*))?\})\}/g;

/** The text that reads as this text when variables are filled in. */
export function escapeVariables(text: string): string {
  return text.includes("${") ? text.replace(VARIABLE, (whole) => `$${whole}`) : text;
}

/** An unquoted value may be a number or a switch. */
function typed(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  return /^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?$/.test(text) ? Number(text) : text;
}

function offsetOf(root: ParsedNode | null, path: Path): number | undefined {
  let node: Node | null = root;
  let offset = root?.range?.[0];
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === part);
      if (!pair) return offset;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value as Node | null;
    } else if (isSeq(node) && typeof part === "number" && node.items[part]) {
      node = node.items[part] as Node;
      offset = node.range?.[0] ?? offset;
    } else return offset;
  }
  return offset;
}
