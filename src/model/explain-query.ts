/**
 * What an explanation is asked about: a whole request, or a token on a route. Checked where it is asked and where it is
 * answered, with sentences that say what, where and the cure. Source: docs/spec/tokens.md section 12.
 */
import { isMembers } from "../base/json/members.ts";

export interface ExplainQuery {
  /** Judged in place of what the request carries. */
  readonly token?: string;
  /** Id of the route to judge the token on; without `request`. */
  readonly route?: string;
  readonly request?: {
    readonly method: string;
    /** Default: `localhost`. */
    readonly host?: string;
    readonly uri: string;
    readonly scheme: "http" | "https";
    /** Address of the caller. */
    readonly client?: string;
    /** Flat [name, value, …]. */
    readonly headers: readonly string[];
  };
  /** Seconds since 1970 to judge by; default: now. */
  readonly at?: number;
  /** Id of the node that is to answer; default: any. */
  readonly node?: string;
}

const TEXT_MAX = 8_192;
const TOKEN_MAX = 65_536;
const HEADERS_MAX = 100;
const MEMBERS = ["token", "route", "request", "at", "node"];
const REQUEST_MEMBERS = ["method", "host", "uri", "scheme", "client", "headers"];
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD = /^[\t\x20-\x7e\x80-\xff]*$/;

/** @returns the question, or what is wrong with it */
export function readExplainQuery(body: unknown): ExplainQuery | string {
  if (!isMembers(body)) return 'explain: the body must be an object: {"request":{…}} or {"token":"…","route":"…"}';
  const strange = Object.keys(body).find((name) => !MEMBERS.includes(name));
  if (strange !== undefined) return `explain: there is no member ${strange.slice(0, 64)}: use ${MEMBERS.join(", ")}`;
  const { token, route, request, at, node } = body;
  if (token !== undefined && !isText(token, TOKEN_MAX))
    return `explain: token must be a text of 1 to ${TOKEN_MAX} characters`;
  if (route !== undefined && !isText(route, 256)) return "explain: route must be the id of a route";
  if (node !== undefined && !isText(node, 256))
    return "explain: node must be the id of a node: GET /apisix/admin/nodes lists them";
  if (at !== undefined && !(typeof at === "number" && Number.isFinite(at) && at >= 0 && at < 1e11))
    return "explain: at must be a number of seconds since 1970";
  if ((route === undefined) === (request === undefined))
    return "explain: say either route or request: a token is judged on a route, or as part of a whole request";
  const common = {
    ...(token !== undefined && { token }),
    ...(at !== undefined && { at }),
    ...(node !== undefined && { node }),
  };
  if (request === undefined) return { ...common, ...(route !== undefined && { route }) };
  const read = readRequest(request);
  return typeof read === "string" ? `explain: ${read}` : { ...common, request: read };
}

function readRequest(given: unknown): NonNullable<ExplainQuery["request"]> | string {
  if (!isMembers(given)) return 'request must be an object: {"method","host","uri","headers"}';
  const strange = Object.keys(given).find((name) => !REQUEST_MEMBERS.includes(name));
  if (strange !== undefined) return `request has no member ${strange.slice(0, 64)}: use ${REQUEST_MEMBERS.join(", ")}`;
  const { method = "GET", host, uri, scheme = "http", client, headers = {} } = given;
  if (!isText(method, 64) || !TOKEN.test(method)) return "request.method must be a method such as GET";
  if (host !== undefined && (!isText(host, 256) || !FIELD.test(host)))
    return "request.host must be a host name, with a port if need be";
  if (!isText(uri, TEXT_MAX) || !/^\/[\x21-\x7e]*$/.test(uri))
    return "request.uri must be a path with its query, as a client sends it: it begins with / and has no blanks";
  if (scheme !== "http" && scheme !== "https") return "request.scheme must be http or https";
  if (client !== undefined && !isText(client, 64)) return "request.client must be the address of a caller";
  const lines = readHeaders(headers);
  if (typeof lines === "string") return lines;
  if (host !== undefined && lines.some((name, at) => at % 2 === 0 && name.toLowerCase() === "host"))
    return "request.headers has Host: say it in request.host only";
  return {
    method,
    uri,
    scheme,
    headers: lines,
    ...(host !== undefined && { host }),
    ...(client !== undefined && { client }),
  };
}

function readHeaders(headers: unknown): readonly string[] | string {
  if (!isMembers(headers))
    return "request.headers must be an object of names and values; a list says a header that is repeated";
  const lines: string[] = [];
  for (const [name, given] of Object.entries(headers)) {
    if (!TOKEN.test(name)) return `request.headers: ${JSON.stringify(name.slice(0, 64))} is no header name`;
    for (const value of Array.isArray(given) ? given : [given]) {
      if (typeof value !== "string" || value.length > TOKEN_MAX || !FIELD.test(value))
        return `request.headers: the value of ${name.slice(0, 64)} must be a text that can stand in a header`;
      lines.push(name, value);
    }
  }
  return lines.length > 2 * HEADERS_MAX ? `request.headers has more than ${HEADERS_MAX} lines` : lines;
}

function isText(value: unknown, max: number): value is string {
  return typeof value === "string" && value !== "" && value.length <= max;
}
