/**
 * Completion from a schema: members that are still missing, values of enumerations, names of plugins.
 */
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { syntaxTree } from "@codemirror/language";
import type { EditorState } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import type { SyntaxNode } from "@lezer/common";
import { nameOf, pathTo } from "./json-places.ts";
import type { Path } from "./judge.ts";
import { membersOf, type Schema } from "./record-schema.ts";

const BRANCHES = ["allOf", "anyOf", "oneOf"] as const;

/** The schema and all of its branches, whichever will hold. */
function branchesOf(schema: Schema): readonly Schema[] {
  const inner = [
    ...BRANCHES.flatMap((name) => schema[name] ?? []),
    schema["then"],
    schema["else"],
    ...dependents(schema),
  ];
  return [schema, ...inner.filter(isSchema).flatMap(branchesOf)];
}

const dependents = (schema: Schema): readonly unknown[] => Object.values(membersOf(schema["dependentSchemas"]));
const isSchema = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function inside(schema: Schema, part: string | number): readonly Schema[] {
  return branchesOf(schema).flatMap((branch) => {
    if (typeof part === "number") return [branch["items"]].filter(isSchema);
    const properties = membersOf(branch["properties"]);
    if (Object.hasOwn(properties, part)) return [properties[part]].filter(isSchema);
    return [...Object.values(membersOf(branch["patternProperties"])), branch["additionalProperties"]].filter(isSchema);
  });
}

export function schemasAt(schema: Schema, path: Path): readonly Schema[] {
  return path.reduce<readonly Schema[]>((all, part) => all.flatMap((one) => inside(one, part)), [schema]);
}

export function completeFrom(schema: () => Schema | undefined) {
  return (context: CompletionContext): CompletionResult | null => {
    const whole = schema();
    if (!whole) return null;
    const { state, pos } = context;
    const node = syntaxTree(state).resolveInner(pos, -1);
    const before = /[\w$"-]*$/.exec(state.sliceDoc(Math.max(0, pos - 200), pos))?.[0] ?? "";
    if (before === "" && !context.explicit) return null;
    const from = pos - before.length;
    const isValue = isAfterColon(state, from, node);
    const holder = isValue ? node : objectAround(node);
    if (!holder) return null;
    const options = isValue
      ? valuesFrom(schemasAt(whole, valuePath(state, node)))
      : membersFrom(state, holder, schemasAt(whole, pathTo(state, holder)));
    return options.length === 0 ? null : { from, to: endOfToken(state, pos), options, validFor: /^"?[\w$-]*$/ };
  };
}

/** What stands before the token decides, in texts that are not whole too. */
function isAfterColon(state: EditorState, from: number, node: SyntaxNode): boolean {
  const before = state.sliceDoc(Math.max(0, from - 500), from).trimEnd();
  return before.endsWith(":") || (arrayAround(node) && /[[,]$/.test(before));
}

function arrayAround(node: SyntaxNode): boolean {
  for (let at: SyntaxNode | null = node; at; at = at.parent) {
    if (at.name === "Array") return true;
    if (at.name === "Object") return false;
  }
  return false;
}

function objectAround(node: SyntaxNode): SyntaxNode | undefined {
  for (let at: SyntaxNode | null = node; at; at = at.parent) if (at.name === "Object") return at;
  return undefined;
}

function valuePath(state: EditorState, node: SyntaxNode): Path {
  for (let at: SyntaxNode | null = node; at; at = at.parent) {
    if (at.name === "Property") return [...pathTo(state, at), nameOf(state, at)];
    if (at.name === "Array") return [...pathTo(state, at), 0];
  }
  return [];
}

/** A name or value that goes on behind the cursor is replaced whole. */
function endOfToken(state: EditorState, pos: number): number {
  return pos + (/^[\w$-]*"?/.exec(state.sliceDoc(pos, pos + 200))?.[0].length ?? 0);
}

const EMPTY: Readonly<Record<string, string>> = { object: "{}", array: "[]", string: '""' };

function membersFrom(state: EditorState, holder: SyntaxNode, schemas: readonly Schema[]): Completion[] {
  const present = new Set(holder.getChildren("Property").map((one) => nameOf(state, one)));
  const options = new Map<string, Completion>();
  for (const branch of schemas.flatMap(branchesOf)) {
    const required = Array.isArray(branch["required"]) ? branch["required"] : [];
    for (const [name, member] of Object.entries(membersOf(branch["properties"]))) {
      if (present.has(name) && !isTyped(state, holder, name)) continue;
      const { type, description, default: usual } = membersOf(member);
      const isRequired = required.includes(name);
      options.set(name, {
        label: `"${name}"`,
        displayLabel: name,
        detail: [isRequired ? "required" : "", typeof type === "string" ? type : ""].map((text) => ` ${text}`).join(""),
        ...(typeof description === "string" && { info: description }),
        type: "property",
        boost: isRequired ? 1 : 0,
        apply: (view, _, from, to) =>
          putMember(view, name, usual === undefined ? (EMPTY[String(type)] ?? "") : "", from, to),
      });
    }
  }
  return [...options.values()];
}

/** The member that is being typed is there already. */
function isTyped(state: EditorState, holder: SyntaxNode, name: string): boolean {
  const { head } = state.selection.main;
  return holder.getChildren("Property").some((one) => {
    const key = one.getChild("PropertyName");
    return nameOf(state, one) === name && key !== null && key.from <= head && head <= key.to;
  });
}

function putMember(view: EditorView, name: string, value: string, from: number, to: number): void {
  const hasValue = /^\s*:/.test(view.state.sliceDoc(to, to + 50));
  const insert = hasValue ? JSON.stringify(name) : `${JSON.stringify(name)}: ${value}`;
  const into = !hasValue && value !== "" ? 1 : 0;
  view.dispatch({
    changes: { from, to, insert },
    selection: { anchor: from + insert.length - into },
    userEvent: "input.complete",
  });
}

function valuesFrom(schemas: readonly Schema[]): Completion[] {
  const values = new Map<string, Completion>();
  for (const branch of schemas.flatMap(branchesOf)) {
    const { type, enum: named, const: only, default: usual, description } = branch;
    const given = [
      ...(Array.isArray(named) ? named : []),
      ...(only === undefined ? [] : [only]),
      ...(type === "boolean" ? [true, false] : []),
      ...(usual === undefined ? [] : [usual]),
    ];
    for (const value of given) {
      const label = JSON.stringify(value);
      const info = typeof description === "string" ? { info: description } : {};
      values.set(label, { label, type: "enum", ...info, ...(value === usual && { detail: "default" }) });
    }
  }
  return [...values.values()];
}
