/**
 * The few facts about a GraphQL request that routing and limits ask for: operation, name, root fields.
 * Looks only at the first definition of the document, as APISIX does; does not validate it.
 */
export interface GraphqlOperation {
  readonly operation: string;
  /** "" for an anonymous operation. */
  readonly name: string;
  readonly root_fields: readonly string[];
}

const TOKEN =
  /[\s,\uFEFF]+|#[^\n\r]*|"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|\.\.\.|[_A-Za-z]\w*|-?\d[\w.+-]*|[!$&()[\]{}:=@|]/gy;
const TOKENS_MAX = 10_000; // root fields stand long before this; beyond it is a document nobody routes by

/** @returns undefined when the text is no executable GraphQL document */
export function parseGraphql(text: string): GraphqlOperation | undefined {
  const tokens = tokensOf(text);
  if (!tokens) return undefined;
  let at = 0;
  let operation = "query";
  let name = "";
  if (tokens[0] !== "{") {
    operation = tokens[at++] ?? "";
    if (!["query", "mutation", "subscription", "fragment"].includes(operation)) return undefined;
    if (/^\w/.test(tokens[at] ?? "")) name = tokens[at++] ?? "";
    if (operation === "fragment") at += 2; // "on Type"
    at = toSelection(tokens, at);
  }
  if (tokens[at] !== "{") return undefined;
  const fields = rootFields(tokens, at + 1);
  return fields && { operation, name, root_fields: fields };
}

function tokensOf(text: string): string[] | undefined {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    from = match.index + match[0].length;
    if (!/^[\s,#\uFEFF]/.test(match[0])) tokens.push(match[0]);
    if (tokens.length > TOKENS_MAX) return undefined;
  }
  return from === text.length && tokens.length > 0 ? tokens : undefined;
}

/** Skips variable definitions and directives up to the "{" of the selection. */
function toSelection(tokens: readonly string[], from: number): number {
  let at = from;
  while (at < tokens.length && tokens[at] !== "{") at = tokens[at] === "(" ? closing(tokens, at) + 1 : at + 1;
  return at;
}

function rootFields(tokens: readonly string[], from: number): string[] | undefined {
  const fields: string[] = [];
  for (let at = from; at < tokens.length; ) {
    const token = tokens[at] as string;
    if (token === "}") return fields;
    if (token === "(" || token === "{") at = closing(tokens, at) + 1;
    else if (token === "...") at += /^on$|^@/.test(tokens[at + 1] ?? "@") ? 1 : 2;
    else if (token === "on" && tokens[at - 1] === "...") at += 2;
    else if (token === "@") at += 2;
    else if (!/^[_A-Za-z]/.test(token)) return undefined;
    else if (tokens[at + 1] === ":") at += 2;
    else {
      fields.push(token);
      at++;
    }
  }
  return undefined;
}

/** Index of the bracket that closes the one at `open`; the last index when none does. */
function closing(tokens: readonly string[], open: number): number {
  let depth = 0;
  for (let at = open; at < tokens.length; at++) {
    const token = tokens[at] as string;
    if (token === "(" || token === "{" || token === "[") depth++;
    else if ((token === ")" || token === "}" || token === "]") && --depth === 0) return at;
  }
  return tokens.length - 1;
}
