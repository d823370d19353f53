/**
 * XML as a tree of members, as APISIX's templates know it: an element with text only is its text, several of one name are a list,
 * attributes are in `_attr`, text beside them in `[1]`; prefixes of names are left out.
 * Promise: no document type, so no entities of its own (XML bombs, files); depth and size of the tree are bounded by the document.
 */
import sax from "sax";
import { CodedError } from "../../base/errors.ts";

const DEPTH_MAX = 256;
/** Only the five entities that every document has. */
const OPTIONS = { strictEntities: true };

type Element = Record<string, unknown>;

/** @throws CodedError REQUEST_INVALID for what is not well-formed */
export function parseXml(text: string): Element {
  const parser = sax.parser(true, { trim: false, ...OPTIONS });
  const root = emptyElement();
  const open: { readonly name: string; readonly element: Element; text: string }[] = [
    { name: "", element: root, text: "" },
  ];
  parser.onerror = (error) => {
    throw invalid(error.message.split("\n")[0] ?? "");
  };
  parser.ondoctype = () => {
    throw invalid("a document type is not allowed");
  };
  parser.onopentag = ({ attributes, name }) => {
    if (open.length > DEPTH_MAX) throw invalid(`elements are nested more than ${DEPTH_MAX} deep`);
    const element = emptyElement();
    const names = Object.keys(attributes);
    if (names.length > 0) {
      const own = emptyElement();
      for (const one of names) own[localName(one)] = String(attributes[one]);
      element["_attr"] = own;
    }
    open.push({ name: localName(name), element, text: "" });
  };
  const addText = (piece: string): void => {
    const top = open.at(-1);
    if (top) top.text += piece;
  };
  parser.ontext = addText;
  parser.oncdata = addText;
  parser.onclosetag = () => {
    const { element, name, text: all } = open.pop() as (typeof open)[number]; // true: what closes was opened
    const text = all.trim();
    const hasMembers = Object.keys(element).length > 0;
    if (hasMembers && text !== "") element["1"] = text;
    append((open.at(-1) as (typeof open)[number]).element, name, hasMembers ? element : text);
  };
  parser.write(text).close();
  return root;
}

function append(parent: Element, name: string, value: unknown): void {
  const before = parent[name];
  if (before === undefined) parent[name] = value;
  else if (Array.isArray(before)) before.push(value);
  else parent[name] = [before, value];
}

/** Without a prototype: names come from callers. */
function emptyElement(): Element {
  return Object.create(null) as Element;
}

function localName(name: string): string {
  return name.slice(name.lastIndexOf(":") + 1);
}

function invalid(message: string): CodedError {
  return new CodedError("REQUEST_INVALID", { message });
}
