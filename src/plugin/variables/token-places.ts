/**
 * Where requests carry tokens and keys, so that no log and no metric shows them: names that say so by themselves, names that the
 * authentication plugins of this node are configured to read, and values that look like tokens wherever they are.
 * Promise: what is hidden on one route is hidden on all; more is hidden than must be, never less.
 */
import { hideJwts, isSecretName } from "../../model/secret-names.ts";
import type { Plugin } from "../plugin.ts";
import { decodeFormText, type Variable } from "./query.ts";
import { valueText } from "./template.ts";

/** Stands for what is not shown. */
const HIDDEN = "***";

const SCHEME = /\b(bearer|basic|digest|token|apikey|hmac|signature|negotiate)(\s+|%20|\+)\S+/gi;

const NAMES_MAX = 1_000; // names come from records, so they are bounded here

/** Collects names from configurations and hides what goes by them. */
export class TokenPlaces {
  readonly #arguments = new Set<string>();
  readonly #headers = new Set<string>();
  /** More names than are remembered: every argument and header counts as secret then. */
  #full = false;

  /** @param conf of an authentication plugin, which names the places in `header` and `query`; cookies are always hidden */
  note(conf: unknown): void {
    if (typeof conf !== "object" || conf === null) return;
    const { header, query } = conf as { readonly header?: unknown; readonly query?: unknown };
    if (typeof query === "string") this.#remember(this.#arguments, query.toLowerCase());
    if (typeof header === "string") this.#remember(this.#headers, foldName(header));
  }

  /** @param name decoded */
  hidesArgument(name: string): boolean {
    return this.#full || this.#arguments.has(name.toLowerCase()) || isSecretName(name);
  }

  /** @param name in any case, with "-" or "_" */
  hidesHeader(name: string): boolean {
    return this.#full || this.#headers.has(foldName(name)) || isSecretName(name);
  }

  /** A raw query with secret values hidden; everything else is byte for byte as it was. */
  hideQuery(query: string): string {
    return query
      .split("&")
      .map((pair) => {
        const equals = pair.indexOf("=");
        const name = decodeFormText(equals < 0 ? pair : pair.slice(0, equals));
        if (equals < 0) return hideTokens(pair);
        if (this.hidesArgument(name)) return `${pair.slice(0, equals)}=${HIDDEN}`;
        const value = decodeFormText(pair.slice(equals + 1));
        return hideTokens(value) === value ? hideTokens(pair) : `${pair.slice(0, equals)}=${HIDDEN}`;
      })
      .join("&");
  }

  /** A URL or target: hides in its path, its query and its fragment. */
  hideUrl(text: string): string {
    const hash = text.indexOf("#");
    const end = hash < 0 ? text.length : hash;
    const mark = text.indexOf("?");
    const pathEnd = mark < 0 || mark > end ? end : mark;
    const path = hideTokens(text.slice(0, pathEnd)).replace(/\/\/[^/@]*@/, `//${HIDDEN}@`);
    const query = pathEnd === end ? "" : `?${this.hideQuery(text.slice(pathEnd + 1, end))}`;
    return hash < 0 ? path + query : `${path}${query}#${this.hideQuery(text.slice(hash + 1))}`;
  }

  #remember(names: Set<string>, name: string): void {
    if (names.has(name)) return;
    if (names.size >= NAMES_MAX) this.#full = true;
    else names.add(name);
  }
}

/** Hides what looks like a token, whatever it is called. Cost: two passes, fewer for most texts. */
export function hideTokens(text: string): string {
  const shown = hideJwts(text, HIDDEN);
  return /[\s+]|%20/.test(shown) ? shown.replace(SCHEME, `$1$2${HIDDEN}`) : shown;
}

/** Variables that hold a target, a query or a URL. */
const URLS: ReadonlySet<string> = new Set(["request_uri", "real_request_uri", "upstream_uri"]);
const LINES: ReadonlySet<string> = new Set(["request", "request_line"]);
const QUERIES: ReadonlySet<string> = new Set(["args", "query_string"]);

/** A variable whose value shows no secret, for what is logged or counted. @param read the variable of this name */
export function shownVariable(name: string, read: Variable, places: TokenPlaces): Variable {
  const shown = (show: (text: string) => string): Variable => {
    return (view) => {
      const value = read(view);
      return value === undefined ? undefined : show(valueText(value));
    };
  };
  if (QUERIES.has(name)) return shown((text) => places.hideQuery(text));
  if (LINES.has(name)) return shown((text) => hideInLine(text, places));
  if (URLS.has(name)) return shown((text) => places.hideUrl(text));
  if (name.startsWith("arg_"))
    return shown((text) => (places.hidesArgument(name.slice(4)) ? HIDDEN : hideTokens(text)));
  if (/^(?:cookie|post_arg|graphql)/.test(name)) return shown(() => HIDDEN);
  const header = /^(?:sent_)?http_(.+)$/.exec(name)?.[1];
  if (header !== undefined) return shown((text) => (places.hidesHeader(header) ? HIDDEN : places.hideUrl(text)));
  return shown(hideTokens);
}

/** `GET /a?b=c HTTP/1.1` */
function hideInLine(line: string, places: TokenPlaces): string {
  const start = line.indexOf(" ") + 1;
  const end = Math.max(start, line.lastIndexOf(" "));
  return line.slice(0, start) + places.hideUrl(line.slice(start, end)) + line.slice(end);
}

/** The same plugin; one that authenticates tells the places of each configuration it is compiled with. */
export function observeTokenPlaces(plugin: Plugin, places: TokenPlaces): Plugin {
  if (!plugin.credential) return plugin;
  return Object.freeze({
    ...plugin,
    compile(...args: Parameters<Plugin["compile"]>) {
      places.note(args[0]);
      return plugin.compile(...args);
    },
  });
}

function foldName(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}
