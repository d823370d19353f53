/**
 * From a path in a JSON document to its place in the text and back, by the editor's own syntax tree, which is there for
 * broken texts too.
 */
import { syntaxTree } from "@codemirror/language";
import type { EditorState } from "@codemirror/state";
import type { SyntaxNode } from "@lezer/common";
import type { Path } from "./judge.ts";

export interface TextRange {
  readonly from: number;
  readonly to: number;
}

const VALUES = new Set(["Object", "Array", "String", "Number", "True", "False", "Null"]);

const textOf = (state: EditorState, { from, to }: TextRange): string => state.sliceDoc(from, to);

export function nameOf(state: EditorState, property: SyntaxNode): string {
  const name = property.getChild("PropertyName");
  if (!name) return "";
  try {
    return String(JSON.parse(textOf(state, name)));
  } catch {
    return textOf(state, name).replace(/^"|"$/g, "");
  }
}

export function valuesOf(node: SyntaxNode): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling) if (VALUES.has(child.name)) found.push(child);
  return found;
}

/** The place of the last part of the path that there is: of a member its name, of an item all of it. */
export function placeOfPath(state: EditorState, path: Path): TextRange {
  let node = valuesOf(syntaxTree(state).topNode)[0];
  let shown: TextRange = { from: node?.from ?? 0, to: Math.min((node?.from ?? 0) + 1, state.doc.length) };
  for (const part of path) {
    if (node?.name === "Object") {
      const property = node.getChildren("Property").findLast((one) => nameOf(state, one) === String(part));
      if (!property) break;
      shown = property.getChild("PropertyName") ?? property;
      node = valuesOf(property)[0];
    } else if (node?.name === "Array") {
      const item = valuesOf(node)[Number(part)];
      if (!item) break;
      shown = item;
      node = item;
    } else break;
  }
  return { from: shown.from, to: shown.to };
}

/** The path of the object, the array or the member that holds this node. */
export function pathTo(state: EditorState, from: SyntaxNode): Path {
  const path: (string | number)[] = [];
  for (let node: SyntaxNode | null = from; node?.parent; node = node.parent) {
    const { parent }: { readonly parent: SyntaxNode } = node as SyntaxNode & { readonly parent: SyntaxNode };
    if (parent.name === "Property" && node.name !== "PropertyName") path.unshift(nameOf(state, parent));
    else if (parent.name === "Array")
      path.unshift(valuesOf(parent).filter((item) => item.from < (node as SyntaxNode).from).length);
  }
  return path;
}
