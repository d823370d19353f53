/**
 * forward-auth: asks an authorization service about each request; its 2xx lets the request pass, everything else is the answer.
 * Promise: what callers send under the names that the service sets is removed; a service that is away refuses, unless
 * `allow_degradation` says otherwise. Source: APISIX 3.18 forward-auth.
 */
import { type Static, Type } from "typebox";
import { isCodedError } from "../base/errors.ts";
import type { ExchangeAnswer } from "../base/net/guarded-exchange.ts";
import { isHeaderValue } from "../plugin/caller-identity.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { type Answer, bareAnswer, textAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { compileTemplate, safeHeaderValue } from "../plugin/variables/template.ts";
import { compileVariable } from "../plugin/variables/variables.ts";
import { FRAMING_HEADERS, foldHeaderName, headerError } from "./shared/header-operations.ts";
import { openQuestions, QUESTION_MEMBERS } from "./shared/questions.ts";
import { HttpUri, Words } from "./shared/schema-parts.ts";

const Names = Defaulted(Type.Array(Type.String(), { default: [] }));

const schema = Type.Object({
  uri: HttpUri,
  allow_degradation: Defaulted(Type.Boolean({ default: false })),
  status_on_error: Defaulted(Type.Integer({ minimum: 200, maximum: 599, default: 403 })),
  request_method: Defaulted(Words(["GET", "POST"], { default: "GET" })),
  max_req_body_size: Defaulted(Type.Integer({ minimum: 1, default: 67_108_864 })),
  request_headers: Names,
  extra_headers: Type.Optional(
    Type.Unsafe<Readonly<Record<string, string>>>({
      type: "object",
      minProperties: 1,
      patternProperties: { "^[^:]+$": { type: "string" } },
    }),
  ),
  upstream_headers: Names,
  client_headers: Names,
  ...QUESTION_MEMBERS,
});
type Conf = Static<typeof schema>;

const TOO_LARGE = bareAnswer(413, "request_too_large");

export const forwardAuth = definePlugin({
  name: "forward-auth",
  version: 0.1,
  priority: 2002,
  explain: { not: "it asks an authorization service" },
  schema,
  check: namesError,
  compile(conf, env) {
    const ask = openQuestions("forward-auth", conf, env);
    const headersOf = compileHeaders(conf);
    const away = bareAnswer(conf.status_on_error, "forward_auth_unavailable");
    const upstream = conf.upstream_headers.map((name) => ({ name, lower: name.toLowerCase() }));
    const folded = new Set(conf.upstream_headers.map(foldHeaderName));
    const pass = (view: RequestView, answered: ExchangeAnswer["headers"]): undefined => {
      view.headers.removeWhere((lower) => folded.has(foldHeaderName(lower)));
      for (const { name, lower } of upstream) {
        const value = answered?.[lower];
        if (value !== undefined && isHeaderValue(value)) view.headers.append(name, value);
      }
    };
    return {
      async access(view) {
        let body: Buffer | undefined;
        if (conf.request_method === "POST") {
          body = await readBody(view, conf.max_req_body_size);
          if (body === undefined) return TOO_LARGE;
        }
        const request = { method: conf.request_method, url: conf.uri, headers: headersOf(view) };
        const answer = await ask(body === undefined ? request : { ...request, body });
        if (answer === undefined) return conf.allow_degradation ? pass(view, undefined) : away;
        return answer.status < 300 ? pass(view, answer.headers) : refusal(answer, conf.client_headers);
      },
    };
  },
});

function namesError({
  client_headers: client,
  extra_headers: extra = {},
  request_headers: sent,
  upstream_headers: up,
}: Conf) {
  for (const name of [...client, ...sent, ...up, ...Object.keys(extra)]) {
    const error = headerError(name, "");
    if (error !== undefined) return `${error}: ${name}`;
  }
  return undefined;
}

type HeadersOf = (view: RequestView) => Record<string, string>;

function compileHeaders(conf: Conf): HeadersOf {
  const uri = compileVariable("request_uri");
  const extra = Object.entries(conf.extra_headers ?? {})
    .filter(([name]) => !FRAMING_HEADERS.has(name.toLowerCase()))
    .map(([name, text]) => [name, compileTemplate(text)] as const);
  const made = new Set([
    "x-forwarded-proto",
    "x-forwarded-method",
    "x-forwarded-host",
    "x-forwarded-uri",
    "x-forwarded-for",
  ]);
  for (const [name] of extra) made.add(name.toLowerCase());
  const copied = conf.request_headers
    .map((name) => ({ name, lower: name.toLowerCase() }))
    .filter(({ lower }) => !FRAMING_HEADERS.has(lower) && !made.has(lower));
  if (conf.request_method === "POST") copied.push({ name: "Content-Encoding", lower: "content-encoding" });
  return (view) => {
    const headers: Record<string, string> = {
      "X-Forwarded-Proto": view.connection.scheme,
      "X-Forwarded-Method": view.head.method,
      "X-Forwarded-Host": view.host,
      "X-Forwarded-Uri": String(uri(view)),
      "X-Forwarded-For": view.clientAddress,
    };
    for (const [name, template] of extra) {
      const value = safeHeaderValue(template(view));
      if (value !== undefined) headers[name] = value;
    }
    for (const { name, lower } of copied) {
      const value = view.headers.getAll(lower).join(", ");
      if (value !== "") headers[name] = value;
    }
    return headers;
  };
}

function refusal(answer: ExchangeAnswer, names: readonly string[]): Answer {
  const headers = names.flatMap((name) => {
    const value = FRAMING_HEADERS.has(name.toLowerCase()) ? undefined : answer.headers?.[name.toLowerCase()];
    return value !== undefined && isHeaderValue(value) ? [name, value] : [];
  });
  return textAnswer(answer.status, answer.body, "forward_auth_refused", headers);
}

async function readBody(view: RequestView, limitBytes: number): Promise<Buffer | undefined> {
  try {
    return await view.body.read(limitBytes);
  } catch (error) {
    if (isCodedError(error, "REQUEST_TOO_LARGE")) return undefined;
    throw error;
  }
}
