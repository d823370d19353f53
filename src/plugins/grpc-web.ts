/**
 * grpc-web: lets browsers call gRPC services, in binary or as base64 text, with the CORS headers they ask for.
 * Promise: a call whose head has no status says in the last frame of its body how it ended, where browsers can read it.
 * Source: APISIX 3.18 grpc-web; gRPC's PROTOCOL-WEB.md.
 */
import { type Static, Type } from "typebox";
import { isCodedError } from "../base/errors.ts";
import type { BodyFlow, BodyOut } from "../plugin/body-stages.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { type Answer, bareAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import type { ResponseView } from "../plugin/response-view.ts";

const schema = Type.Object({
  max_req_body_size: Defaulted(
    Type.Integer({ minimum: 1, default: 67_108_864, description: "Bytes; longer bodies of requests are refused." }),
  ),
  cors_allow_headers: Defaulted(
    Type.String({
      default: "content-type,x-grpc-web,x-user-agent",
      description: "Request headers that browsers may send, separated by commas.",
    }),
  ),
});
type Conf = Static<typeof schema>;

/** Content types, and whether their bodies are base64. */
const TYPES: ReadonlyMap<string, boolean> = new Map([
  ["application/grpc-web", false],
  ["application/grpc-web-text", true],
  ["application/grpc-web+proto", false],
  ["application/grpc-web-text+proto", true],
]);
/** A text is base64, pieces with padding one after the other; clients pad where they flush. */
const PIECE = /[A-Za-z0-9+/]+={0,2}/y;
const PIECES_MAX = 65_536;
const TRAILER_FRAME = 0x80;

const PREFLIGHT = bareAnswer(204, "grpc_web_preflight");
const METHOD = bareAnswer(405, "grpc_web_method", ["Allow", "POST, OPTIONS"]);
const TYPE = bareAnswer(400, "grpc_web_content_type");
const ROUTE = bareAnswer(400, "grpc_web_route");
const BODY = bareAnswer(400, "grpc_web_body");

const NOTE = "grpc_web_mime";

export const grpcWeb = definePlugin({
  name: "grpc-web",
  version: 0.1,
  priority: 505,
  explain: "run",
  schema,
  compile(conf) {
    return {
      access(view) {
        if (view.head.method === "OPTIONS") return PREFLIGHT;
        if (view.head.method !== "POST") return METHOD;
        const mime = view.header("content-type") ?? "";
        const isText = TYPES.get(mime);
        if (isText === undefined) return TYPE;
        const path = upstreamPath(view);
        if (path === undefined) return ROUTE;
        view.upstreamPath = path;
        const { length } = view.body;
        if (isText || length === undefined || length > conf.max_req_body_size) return take(conf, view, mime, isText);
        accept(view, mime);
        return undefined;
      },
      headerFilter(view, response) {
        const { headers } = response;
        if (view.head.method === "OPTIONS") {
          headers.set("Access-Control-Allow-Methods", "POST");
          headers.set("Access-Control-Allow-Headers", conf.cors_allow_headers);
        }
        if (!headers.has("access-control-allow-origin")) headers.set("Access-Control-Allow-Origin", "*");
        headers.set("Access-Control-Expose-Headers", "grpc-message,grpc-status");
        const mime = view.note(NOTE);
        if (typeof mime !== "string") return;
        headers.set("Content-Type", mime);
        if (response.source !== "upstream") return;
        const isText = TYPES.get(mime) === true;
        const isTold = headers.has("grpc-status");
        response.transformBody({ open: (out) => new WebBody(out, response, isText, isTold) });
      },
    };
  },
});

/** What stands behind the route's prefix, or all of it. @returns undefined where the prefix is not the path's own text */
function upstreamPath({ head: { escapedPath }, route }: RequestView): string | undefined {
  const pattern = route?.matchedUri ?? "";
  if (!pattern.endsWith("*")) return escapedPath;
  const prefix = pattern.slice(0, -1);
  if (!escapedPath.startsWith(prefix)) return undefined;
  const rest = escapedPath.slice(prefix.length);
  if (rest === "") return escapedPath;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** Not before the request is good: a refusal is one of HTTP. */
function accept(view: RequestView, mime: string): void {
  view.setNote(NOTE, mime);
  view.headers.set("Content-Type", "application/grpc");
}

async function take(conf: Conf, view: RequestView, mime: string, isText: boolean): Promise<Answer | undefined> {
  let body: Buffer | undefined;
  try {
    body = await view.body.read(conf.max_req_body_size);
  } catch (error) {
    if (isCodedError(error, "REQUEST_TOO_LARGE")) return BODY;
    throw error;
  }
  if (isText) {
    body = decoded(body.toString("latin1"));
    if (body === undefined) return BODY;
    view.body.replace(body);
  }
  accept(view, mime);
  return undefined;
}

/** @returns undefined where it is no base64 */
function decoded(text: string): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(Math.ceil((text.length * 3) / 4));
  let length = 0;
  for (let at = 0, pieces = 0; at < text.length; pieces++) {
    PIECE.lastIndex = at;
    const piece = PIECE.exec(text)?.[0] ?? "";
    if (piece === "" || piece.length % 4 !== 0 || pieces === PIECES_MAX) return undefined;
    length += bytes.write(piece, length, "base64");
    at += piece.length;
  }
  return bytes.subarray(0, length);
}

/** Messages as they come, and the trailers behind them as one more frame, unless the head has told the status. */
class WebBody implements BodyFlow {
  readonly #out: BodyOut;
  readonly #response: ResponseView;
  readonly #isText: boolean;
  readonly #isTold: boolean;

  constructor(out: BodyOut, response: ResponseView, isText: boolean, isTold: boolean) {
    this.#out = out;
    this.#response = response;
    this.#isText = isText;
    this.#isTold = isTold;
  }

  write(piece: Buffer): boolean {
    return this.#out.write(this.#isText ? Buffer.from(piece.toString("base64"), "latin1") : piece);
  }

  end(): void {
    if (!this.#isTold) this.write(frameOf(fieldsOf(this.#response.trailers)));
    this.#out.end();
  }
}

/** Status and message first: both are always there. */
function fieldsOf(trailers: readonly string[]): ReadonlyMap<string, string> {
  const fields = new Map([
    ["grpc-status", ""],
    ["grpc-message", ""],
  ]);
  for (let i = 0; i < trailers.length; i += 2)
    fields.set((trailers[i] as string).toLowerCase(), trailers[i + 1] as string);
  if (fields.get("grpc-status") === "")
    fields.set("grpc-status", "2").set("grpc-message", "upstream grpc status not received");
  return fields;
}

function frameOf(fields: ReadonlyMap<string, string>): Buffer {
  const text = [...fields].map(([name, value]) => `${name}:${value}\r\n`).join("");
  const frame = Buffer.alloc(5 + text.length);
  frame[0] = TRAILER_FRAME;
  frame.writeUInt32BE(text.length, 1);
  frame.write(text, 5, "latin1");
  return frame;
}
