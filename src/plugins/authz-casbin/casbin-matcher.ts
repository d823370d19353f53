/**
 * What a Casbin matcher may consist of: literals, fields of a request and a rule, operators, lists, and calls of named functions.
 * Promise: it is judged by the tree that the library evaluates, before anything of it is; what is not listed here is refused.
 */
import { createRequire } from "node:module";
import type { Model } from "casbin";
import { library } from "../shared/library.ts";

/** A node of a matcher's tree; which members it has depends on its type. */
interface TreeNode {
  readonly type: string;
  readonly name?: string;
  readonly callee?: TreeNode;
  readonly arguments?: readonly TreeNode[];
  readonly [member: string]: unknown;
}

/** The part of the library's own parser that is needed; another copy of it could read a matcher otherwise. */
interface Expressions {
  parse(text: string): TreeNode;
  addBinaryOp(operator: string, precedence: number, apply: (a: never, b: never) => unknown): void;
}

/** By type: the members that hold further nodes, or lists of them. */
const INNER: ReadonlyMap<string, readonly string[]> = new Map([
  ["Literal", []],
  ["UnaryExpression", ["argument"]],
  ["BinaryExpression", ["left", "right"]],
  ["LogicalExpression", ["left", "right"]],
  ["ConditionalExpression", ["test", "consequent", "alternate"]],
  ["ArrayExpression", ["elements"]],
]);
const ARGUMENTS = 2;

const load = createRequire(import.meta.url);

/**
 * @param functions names of those that take a text and a key
 * @returns why the model's matcher is refused
 * @throws the parser's error for what is no expression
 */
export function matcherError(model: Model, functions: ReadonlySet<string>): string | undefined {
  const { Util } = library<typeof import("casbin")>("casbin");
  const { addBinaryOp, parse } = createRequire(load.resolve("casbin"))("@casbin/expression-eval") as Expressions;
  const matcher = model.model.get("m")?.get("m")?.value ?? "";
  // The library replaces it by text of a rule, within quotes too.
  if (Util.hasEval(matcher)) return "the matcher calls eval, which is not there";
  addBinaryOp("in", 1, Util.customIn); // as the library does before it reads a matcher
  const fields = new Set(["r", "p"].flatMap((key) => model.model.get(key)?.get(key)?.tokens ?? []));
  const roles = model.model.get("g");

  const callError = ({ arguments: given = [], callee }: TreeNode): string | undefined => {
    const name = callee?.type === "Identifier" ? (callee.name ?? "") : undefined;
    if (name === undefined) return "the matcher calls what is no name of a function";
    // The library takes the result of what it does not know for false, which a "!" makes true.
    if (!functions.has(name) && !roles?.has(name)) return `the matcher calls ${name}, which is not there`;
    if (functions.has(name) && given.length !== ARGUMENTS)
      return `the matcher calls ${name} with ${given.length} arguments, it takes ${ARGUMENTS}`;
    return firstError(given);
  };
  const firstError = (nodes: readonly TreeNode[]): string | undefined => {
    for (const node of nodes) {
      const error = nodeError(node);
      if (error !== undefined) return error;
    }
    return undefined;
  };
  const nodeError = (node: TreeNode): string | undefined => {
    if (node.type === "CallExpression") return callError(node);
    if (node.type === "Identifier")
      return fields.has(node.name ?? "") ? undefined : `the matcher names ${node.name}, which no definition has`;
    const inner = INNER.get(node.type);
    if (!inner) return `the matcher has a ${node.type}, which is not allowed`;
    return firstError(inner.flatMap((member) => node[member] as TreeNode | readonly TreeNode[]));
  };
  return nodeError(parse(Util.bracketCompatible(matcher)));
}
