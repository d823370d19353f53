/**
 * Templates of bodies, in lua-resty-template's notation without Lua: `{{ }}` escaped for HTML, `{* *}` as it is, `{# #}` a comment,
 * `{% if … then %} {% elseif … then %} {% else %} {% end %}` and `{% for k, v in pairs(…) do %} {% end %}`.
 * Promise: rendering ends: loops are over what a body holds, and steps and output are bounded.
 */
import { CodedError } from "../../base/errors.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileExpression } from "./template-expression.ts";
import {
  type Evaluate,
  isTrue,
  renderError,
  type TemplateScope,
  type TemplateValue,
  textOf,
} from "./template-value.ts";

/** Pieces that are put out and turns of loops. */
const STEPS_MAX = 1_000_000;
const OUTPUT_MAX = 67_108_864;
const DEPTH_MAX = 32;
const LOOP = /^for\s+([A-Za-z_]\w*)\s*(?:,\s*([A-Za-z_]\w*)\s*)?in\s+(pairs|ipairs)\s*\((.*)\)\s*do$/s;
const BRANCH = /^(if|elseif)\b(.*)\bthen$/s;

/** Puts its text out. */
type Piece = (scope: TemplateScope, out: Output) => void;

interface Output {
  text: string;
}

export interface BodyTemplate {
  /** @throws CodedError for what the body does not have, or too much of it */
  render(data: Readonly<Record<string, TemplateValue>>, body: string | undefined, view: RequestView): string;
}

/** @throws CodedError CONFIG_INVALID that says what cannot be read */
export function compileBodyTemplate(source: string): BodyTemplate {
  const parser = new TemplateParser(source);
  const pieces = parser.block(false, 0).pieces;
  return {
    render(data, body, view) {
      const out: Output = { text: "" };
      putAll(pieces, { data, body, view, locals: [], steps: STEPS_MAX }, out);
      return out.text;
    },
  };
}

interface Block {
  readonly pieces: readonly Piece[];
  /** The tag that ended it; undefined: the end of the template. */
  readonly end: string | undefined;
}

class TemplateParser {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  /** @param isInner whether it ends with a tag of the statement it is in */
  block(isInner: boolean, depth: number): Block {
    if (depth > DEPTH_MAX) throw invalid(`statements are nested more than ${DEPTH_MAX} deep`);
    const pieces: Piece[] = [];
    for (;;) {
      const open = this.#nextTag();
      if (open < 0) {
        pieces.push(literal(this.#source.slice(this.#at)));
        if (isInner) throw invalid("{% end %} is missing");
        return { pieces, end: undefined };
      }
      const sign = this.#source[open + 1] as string;
      pieces.push(literal(before(this.#source.slice(this.#at, open), sign)));
      const content = this.#content(open, sign);
      if (sign === "{") pieces.push(put(compileExpression(content), escapeHtml));
      else if (sign === "*") pieces.push(put(compileExpression(content), (text) => text));
      else if (sign === "%") {
        const statement = content.trim();
        if (statement === "end" || statement === "else" || /^elseif\b/.test(statement)) {
          if (!isInner) throw invalid(`{% ${statement} %} stands alone`);
          return { pieces, end: statement };
        }
        pieces.push(this.#statement(statement, depth + 1));
      }
    }
  }

  #nextTag(): number {
    for (let at = this.#source.indexOf("{", this.#at); at >= 0; at = this.#source.indexOf("{", at + 1)) {
      const sign = this.#source[at + 1];
      if (sign === "{" || sign === "*" || sign === "%" || sign === "#") return at;
    }
    return -1;
  }

  #content(open: number, sign: string): string {
    const close = sign === "{" ? "}}" : `${sign}}`;
    const end = this.#source.indexOf(close, open + 2);
    if (end < 0) throw invalid(`'${this.#source.slice(open, open + 20)}' has no '${close}'`);
    this.#at = end + 2;
    // A line of its own leaves no empty line.
    if ((sign === "%" || sign === "#") && this.#source[this.#at] === "\n") this.#at++;
    return this.#source.slice(open + 2, end);
  }

  #statement(statement: string, depth: number): Piece {
    const loop = LOOP.exec(statement);
    if (loop) return this.#loop(loop, depth);
    const branch = BRANCH.exec(statement);
    if (branch?.[1] === "if") return this.#branches(branch[2] ?? "", depth);
    throw invalid(
      `'{% ${statement.slice(0, 40)} %}' is neither an if nor a for over pairs or ipairs; Lua does not run here`,
    );
  }

  #branches(first: string, depth: number): Piece {
    const branches: { readonly test: Evaluate; readonly pieces: readonly Piece[] }[] = [];
    let test: Evaluate | undefined = compileExpression(first);
    for (;;) {
      const { end, pieces } = this.block(true, depth);
      branches.push({ test: test ?? (() => true), pieces });
      if (end === "end") break;
      if (test === undefined) throw invalid("{% else %} is not the last");
      const next = end === "else" ? undefined : BRANCH.exec(end ?? "")?.[2];
      if (end !== "else" && next === undefined) throw invalid(`'{% ${end} %}' has no then`);
      test = next === undefined ? undefined : compileExpression(next);
    }
    return (scope, out) => {
      const taken = branches.find((one) => isTrue(one.test(scope)));
      if (taken) putAll(taken.pieces, scope, out);
    };
  }

  #loop([, first = "", second, how, source = ""]: readonly (string | undefined)[], depth: number): Piece {
    const list = compileExpression(source);
    const { end, pieces } = this.block(true, depth);
    if (end !== "end") throw invalid("a for has no else");
    return (scope, out) => {
      for (const [key, value] of entriesOf(list(scope), how === "ipairs")) {
        step(scope);
        scope.locals.push({ name: first, value: key }, { name: second ?? "", value });
        putAll(pieces, scope, out);
        scope.locals.length -= 2;
      }
    };
  }
}

function putAll(pieces: readonly Piece[], scope: TemplateScope, out: Output): void {
  for (const piece of pieces) piece(scope, out);
}

function literal(text: string): Piece {
  return (scope, out) => add(scope, out, text);
}

function put(value: Evaluate, escaped: (text: string) => string): Piece {
  return (scope, out) => add(scope, out, escaped(textOf(value(scope))));
}

function add(scope: TemplateScope, out: Output, text: string): void {
  step(scope);
  out.text += text;
  if (out.text.length > OUTPUT_MAX) throw renderError(`more than ${OUTPUT_MAX} characters`);
}

function step(scope: TemplateScope): void {
  if (--scope.steps < 0) throw renderError(`more than ${STEPS_MAX} steps`);
}

function entriesOf(value: TemplateValue, inOrder: boolean): Iterable<readonly [TemplateValue, TemplateValue]> {
  if (Array.isArray(value)) return value.map((item, at) => [at + 1, item as TemplateValue] as const);
  if (typeof value !== "object" || value === null) throw renderError("a loop over what is no table");
  return inOrder ? [] : Object.entries(value);
}

/** What stands before a tag; blanks before a statement go. */
function before(text: string, sign: string): string {
  if (sign !== "%" && sign !== "#") return text;
  const blanks = /(?:^|\n)([ \t]+)$/.exec(text);
  return blanks ? text.slice(0, text.length - (blanks[1] as string).length) : text;
}

const HTML_ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
  "/": "&#47;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"'/]/g, (one) => HTML_ENTITIES[one] as string);
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}
