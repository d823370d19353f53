/**
 * grpc-web: lets browsers call gRPC services, in binary or as base64 text, with the CORS headers they ask for.
 * Promise: a call that fails behind its first message says so inside of the body, where browsers can read it.
 * Source: APISIX 3.18 grpc-web; gRPC's PROTOCOL-WEB.md.
 */
import { type Static, Type } from "typebox";
import type { BodyFlow, BodyOut } from "../plugin/body-stages.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { type Answer, bareAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import type { ResponseView } from "../plugin/response-view.ts";

const schema = Type.Object({
  strip_path: Defaulted(
    Type.Boolean({
      default: false,
      description:
        "include prefix matched by path pattern in the path used for upstream call, appropriate for prefix matching path patterns with the format <package>.<service>/*",
    }),
  ),
  enable_in_body_trailers_on_success: Defaulted(
    Type.Boolean({
      default: false,
      description: "append standard grpc-web in-body trailers frame in response body",
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
/** A text body is decoded as a whole. */
const TEXT_BYTES_MAX = 8_388_608;
/** What of it is base64, pieces with padding one after the other. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)*$/;
const TRAILER_FRAME = 0x80;

const PREFLIGHT = bareAnswer(204, "grpc_web_preflight");
const METHOD = bareAnswer(400, "grpc_web_method");
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
        const mime = view.header("content-type");
        view.setNote(NOTE, mime);
        if (view.head.method === "OPTIONS") return PREFLIGHT;
        if (view.head.method !== "POST") return METHOD;
        const isText = mime === undefined ? undefined : TYPES.get(mime);
        if (isText === undefined) return TYPE;
        const path = upstreamPath(conf, view);
        if (path === undefined) return ROUTE;
        view.upstreamPath = path;
        if (isText) return decode(view);
        view.headers.set("Content-Type", "application/grpc");
        return undefined;
      },
      headerFilter(view, response) {
        const { headers } = response;
        if (view.head.method === "OPTIONS") {
          headers.set("Access-Control-Allow-Methods", "POST, OPTIONS");
          headers.set("Access-Control-Allow-Headers", "content-type,x-grpc-web,x-user-agent,grpc-accept-encoding");
        }
        if (!headers.has("access-control-allow-origin")) headers.set("Access-Control-Allow-Origin", "*");
        headers.set("Access-Control-Expose-Headers", "grpc-status,grpc-message");
        const mime = view.note(NOTE);
        if (typeof mime !== "string") return;
        headers.set("Content-Type", mime);
        if (response.source !== "upstream") return;
        const isText = TYPES.get(mime) === true;
        const shown = conf.enable_in_body_trailers_on_success;
        response.transformBody({ open: (out) => new WebBody(out, response, isText, shown) });
      },
    };
  },
});

/** What stands behind the route's prefix, or all of it. @returns undefined where the route is no prefix */
function upstreamPath(conf: Conf, { head, route }: RequestView): string | undefined {
  const pattern = route?.matchedUri ?? "";
  const prefix = pattern.slice(0, -1);
  if (!pattern.endsWith("*") || !head.escapedPath.startsWith(prefix)) return undefined;
  const rest = head.escapedPath.slice(prefix.length);
  if (conf.strip_path && !rest.startsWith("/")) return head.escapedPath;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

async function decode(view: RequestView): Promise<Answer | undefined> {
  const text = (await view.body.read(TEXT_BYTES_MAX)).toString("latin1");
  if (!BASE64.test(text)) return BODY;
  const pieces = text.match(/[A-Za-z0-9+/]+=*/g) ?? [];
  view.headers.set("Content-Type", "application/grpc"); // not before: a refusal is one of HTTP
  view.body.replace(Buffer.concat(pieces.map((piece) => Buffer.from(piece, "base64"))));
  return undefined;
}

/** Messages as they come, and the trailers behind them as one more frame. */
class WebBody implements BodyFlow {
  readonly #out: BodyOut;
  readonly #response: ResponseView;
  readonly #isText: boolean;
  readonly #onSuccess: boolean;
  #isEmpty = true;

  constructor(out: BodyOut, response: ResponseView, isText: boolean, onSuccess: boolean) {
    this.#out = out;
    this.#response = response;
    this.#isText = isText;
    this.#onSuccess = onSuccess;
  }

  write(piece: Buffer): boolean {
    this.#isEmpty = false;
    return this.#out.write(this.#isText ? Buffer.from(piece.toString("base64"), "latin1") : piece);
  }

  end(): void {
    const fields = new Map<string, string>([["grpc-status", "0"]]);
    const { trailers } = this.#response;
    for (let i = 0; i < trailers.length; i += 2) fields.set(trailers[i] as string, trailers[i + 1] as string);
    const isFailed = fields.get("grpc-status") !== "0";
    if (!isFailed && !fields.has("grpc-message")) fields.set("grpc-message", "OK");
    if (isFailed || (this.#onSuccess && !this.#isEmpty)) this.write(frameOf(fields));
    this.#out.end();
  }
}

function frameOf(fields: ReadonlyMap<string, string>): Buffer {
  const text = [...fields].map(([name, value]) => `${name}:${value}\r\n`).join("");
  const frame = Buffer.alloc(5 + text.length);
  frame[0] = TRAILER_FRAME;
  frame.writeUInt32BE(text.length, 1);
  frame.write(text, 5, "latin1");
  return frame;
}
