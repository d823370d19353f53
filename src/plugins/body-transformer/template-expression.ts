/**
 * Expressions of templates: paths into the body, texts, numbers, Lua's operators and a fixed list of functions, compiled into
 * closures. Nothing in them is code: there are no definitions, no calls of what a body holds, and no way out.
 */
import { CodedError } from "../../base/errors.ts";
import { compileVariable } from "../../plugin/variables/variables.ts";
import {
  type Evaluate,
  isEqual,
  isLess,
  isTrue,
  jsonOf,
  lengthOf,
  memberOf,
  numberOf,
  type TemplateScope,
  type TemplateValue,
  textOf,
} from "./template-value.ts";

const TOKEN =
  /\s*(?:([A-Za-z_]\w*)|(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(\.\.|==|~=|<=|>=|[<>+\-*/%#()[\].,]))/y;
const DEPTH_MAX = 64;
const UNARY_POWER = 8;
const CONCAT = "..";

type Binary = (a: TemplateValue, b: TemplateValue) => TemplateValue;

/** By operator: how strongly it binds, as in Lua, and what it does. */
const BINARY: Readonly<Record<string, readonly [power: number, apply: Binary]>> = {
  "<": [3, isLess],
  ">": [3, (a, b) => isLess(b, a)],
  "<=": [3, (a, b) => !isLess(b, a)],
  ">=": [3, (a, b) => !isLess(a, b)],
  "==": [3, isEqual],
  "~=": [3, (a, b) => !isEqual(a, b)],
  "+": [6, (a, b) => numberOf(a) + numberOf(b)],
  "-": [6, (a, b) => numberOf(a) - numberOf(b)],
  "*": [7, (a, b) => numberOf(a) * numberOf(b)],
  "/": [7, (a, b) => numberOf(a) / numberOf(b)],
  "%": [7, (a, b) => modulo(numberOf(a), numberOf(b))],
};
const CONCAT_POWER = 5;
const LOGIC: Readonly<Record<string, number>> = { or: 1, and: 2 };

const FUNCTIONS: Readonly<Record<string, (value: TemplateValue) => TemplateValue>> = {
  _escape_json: jsonOf,
  _escape_xml: (value) => escapeXml(textOf(value)),
  tostring: (value) => (value === undefined || value === null ? "nil" : textOf(value)),
  tonumber: (value) => (typeof value === "string" && Number.isNaN(Number(value || "x")) ? undefined : numberOf(value)),
  "string.lower": (value) => textOf(value).toLowerCase(),
  "string.upper": (value) => textOf(value).toUpperCase(),
  "string.len": (value) => Buffer.byteLength(textOf(value)),
};
const CONSTANTS: ReadonlyMap<string, TemplateValue> = new Map<string, TemplateValue>([
  ["nil", undefined],
  ["true", true],
  ["false", false],
]);
const WORDS: ReadonlySet<string> = new Set([
  "and",
  "or",
  "not",
  "if",
  "then",
  "else",
  "elseif",
  "end",
  "for",
  "in",
  "do",
  "function",
  "local",
  "return",
  "while",
  "repeat",
  "until",
  "break",
]);
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

interface Token {
  readonly type: "name" | "number" | "text" | "sign" | "end";
  readonly text: string;
}

/** @throws CodedError CONFIG_INVALID that names what cannot be read */
export function compileExpression(source: string): Evaluate {
  const parser = new ExpressionParser(tokensOf(source), source);
  return parser.whole();
}

class ExpressionParser {
  readonly #tokens: readonly Token[];
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[], source: string) {
    this.#tokens = tokens;
    this.#source = source;
  }

  whole(): Evaluate {
    const value = this.#binary(0);
    if (this.#next.type !== "end") throw this.#unexpected();
    return value;
  }

  #binary(least: number): Evaluate {
    if (++this.#depth > DEPTH_MAX) throw this.#unexpected();
    let left = this.#unary();
    for (;;) {
      const { text, type } = this.#next;
      const logic = type === "name" ? LOGIC[text] : undefined;
      const operator = type === "sign" && Object.hasOwn(BINARY, text) ? BINARY[text] : undefined;
      const isConcat = type === "sign" && text === CONCAT;
      const power = logic ?? operator?.[0] ?? (isConcat ? CONCAT_POWER : 0);
      if (power === 0 || power <= least) break;
      this.#at++;
      const before = left;
      // To the right first: a .. b .. c is a .. (b .. c).
      const right = this.#binary(isConcat ? power - 1 : power);
      if (isConcat) left = (scope) => textOf(before(scope)) + textOf(right(scope));
      else if (logic !== undefined) left = text === "and" ? both(before, right) : either(before, right);
      else if (operator) left = (scope) => operator[1](before(scope), right(scope));
    }
    this.#depth--;
    return left;
  }

  #unary(): Evaluate {
    if (this.#take("not")) return negate(this.#binary(UNARY_POWER - 1));
    if (this.#take("#")) return map(this.#binary(UNARY_POWER - 1), lengthOf);
    if (this.#take("-")) return map(this.#binary(UNARY_POWER - 1), (value) => -numberOf(value));
    return this.#suffixed();
  }

  #suffixed(): Evaluate {
    let value = this.#primary();
    for (;;) {
      const holder = value;
      if (this.#take(".")) {
        const name = this.#name();
        value = (scope) => memberOf(holder(scope), name);
      } else if (this.#take("[")) {
        const key = this.#binary(0);
        this.#want("]");
        value = (scope) => memberOf(holder(scope), key(scope));
      } else return value;
    }
  }

  #primary(): Evaluate {
    const { text, type } = this.#next;
    if (type === "text" || type === "number") {
      this.#at++;
      const value = type === "number" ? Number(text) : text;
      return () => value;
    }
    if (this.#take("(")) {
      const value = this.#binary(0);
      this.#want(")");
      return value;
    }
    return this.#named(this.#name());
  }

  #named(name: string): Evaluate {
    if (CONSTANTS.has(name)) {
      const value = CONSTANTS.get(name);
      return () => value;
    }
    if (name === "_body") return (scope) => scope.body;
    if (name === "_ctx") return this.#variable();
    const full = name === "string" && this.#take(".") ? `string.${this.#name()}` : name;
    if (this.#next.text === "(" && this.#next.type === "sign") return this.#call(full);
    if (full !== name || Object.hasOwn(FUNCTIONS, name)) throw this.#unexpected();
    return (scope) => lookUp(scope, name);
  }

  /** `_ctx.var.NAME` or `_ctx.var["NAME"]`. */
  #variable(): Evaluate {
    this.#want(".");
    this.#want("var");
    let name: string;
    if (this.#take("[")) {
      const { text, type } = this.#next;
      if (type !== "text") throw this.#unexpected();
      this.#at++;
      this.#want("]");
      name = text;
    } else {
      this.#want(".");
      name = this.#name();
    }
    const read = compileVariable(name);
    return (scope) => read(scope.view);
  }

  #call(name: string): Evaluate {
    const apply = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    if (apply === undefined)
      throw invalid(`there is no function ${name}; there are ${Object.keys(FUNCTIONS).join(", ")}`);
    this.#want("(");
    const value = this.#binary(0);
    this.#want(")");
    return map(value, apply);
  }

  #name(): string {
    const { text, type } = this.#next;
    if (type !== "name" || WORDS.has(text)) throw this.#unexpected();
    this.#at++;
    return text;
  }

  #take(text: string): boolean {
    const { text: found, type } = this.#next;
    if (found !== text || (type !== "sign" && type !== "name")) return false;
    this.#at++;
    return true;
  }

  #want(text: string): void {
    if (!this.#take(text)) throw this.#unexpected();
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? END;
  }

  #unexpected(): CodedError {
    const found = this.#next.type === "end" ? "its end" : `'${this.#next.text}'`;
    return invalid(`cannot read the expression '${this.#source.trim()}' at ${found}`);
  }
}

const END: Token = { type: "end", text: "" };

function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (source.slice(at).trim() !== "") {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(source);
    if (!found)
      throw invalid(`cannot read the expression '${source.trim()}' at '${source.slice(at).trim().slice(0, 20)}'`);
    const [, name, number, text, sign] = found;
    if (name !== undefined) tokens.push({ type: "name", text: name });
    else if (number !== undefined) tokens.push({ type: "number", text: number });
    else if (text !== undefined) tokens.push({ type: "text", text: unquoted(text) });
    else tokens.push({ type: "sign", text: sign ?? "" });
    at = TOKEN.lastIndex;
  }
  return tokens;
}

function unquoted(text: string): string {
  return text.slice(1, -1).replace(/\\(.)/gs, (_all, one: string) => ESCAPES[one] ?? one);
}

function lookUp({ data, locals }: TemplateScope, name: string): TemplateValue {
  for (let at = locals.length - 1; at >= 0; at--) if (locals[at]?.name === name) return locals[at]?.value;
  return Object.hasOwn(data, name) ? data[name] : undefined;
}

function map(value: Evaluate, apply: (value: TemplateValue) => TemplateValue): Evaluate {
  return (scope) => apply(value(scope));
}

function negate(value: Evaluate): Evaluate {
  return (scope) => !isTrue(value(scope));
}

function both(left: Evaluate, right: Evaluate): Evaluate {
  return (scope) => {
    const value = left(scope);
    return isTrue(value) ? right(scope) : value;
  };
}

function either(left: Evaluate, right: Evaluate): Evaluate {
  return (scope) => {
    const value = left(scope);
    return isTrue(value) ? value : right(scope);
  };
}

/** Of the divisor's sign, as in Lua. */
function modulo(a: number, b: number): number {
  return a - Math.floor(a / b) * b;
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}

const XML_ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "'": "&apos;",
  '"': "&quot;",
};

function escapeXml(text: string): string {
  return text.replace(/[&<>'"]/g, (one) => XML_ENTITIES[one] as string);
}
