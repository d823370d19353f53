/**
 * opa: an Open Policy Agent decides about each request, told what it is and, where asked for, of which route, service and consumer.
 * Promise: nothing passes that was not allowed: an agent that is away, or says something else than `"allow": true`, refuses.
 * Source: APISIX 3.18 opa.
 */
import { type Static, Type } from "typebox";
import { isMembers, type Members, parseMembers } from "../base/json/members.ts";
import { isHeaderValue } from "../plugin/caller-identity.ts";
import { type CompileEnv, definePlugin } from "../plugin/plugin.ts";
import { type Answer, bareAnswer, textAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { decodeFormText } from "../plugin/variables/query.ts";
import { FRAMING_HEADERS, foldHeaderName, headerError, isHeaderName } from "./shared/header-operations.ts";
import { openQuestions, QUESTION_MEMBERS } from "./shared/questions.ts";

const Flag = Type.Optional(Type.Boolean({ default: false }));

const schema = Type.Object({
  host: Type.String(),
  policy: Type.String(),
  ...QUESTION_MEMBERS,
  send_headers_upstream: Type.Optional(
    Type.Array(Type.String(), { minItems: 1, description: "list of headers to pass to upstream in request" }),
  ),
  with_route: Flag,
  with_service: Flag,
  with_consumer: Flag,
});
type Conf = Static<typeof schema>;

const AWAY = bareAnswer(403, "opa_unavailable");
const NO_DECISION = bareAnswer(503, "opa_no_decision");

export const opa = definePlugin({
  name: "opa",
  version: 0.1,
  priority: 2001,
  explain: { not: "it asks an Open Policy Agent" },
  schema,
  check({ host, policy, send_headers_upstream: names = [] }) {
    const url = URL.canParse(urlOf(host, policy)) ? new URL(urlOf(host, policy)) : undefined;
    if (!url || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "")
      return 'property "host" is no http or https address without a user';
    for (const name of names) {
      const error = headerError(name, "");
      if (error !== undefined) return `${error}: ${name}`;
    }
    return undefined;
  },
  compile(conf, env) {
    const ask = openQuestions("opa", conf, env);
    const inputOf = compileInput(conf, env);
    const request = {
      ...{ method: "POST" as const, url: urlOf(conf.host, conf.policy) },
      headers: { "Content-Type": "application/json" },
    };
    const names = conf.send_headers_upstream ?? [];
    const folded = new Set(names.map(foldHeaderName));
    const pass = (view: RequestView, headers: Members): undefined => {
      if (names.length === 0) return undefined;
      view.headers.removeWhere((lower) => folded.has(foldHeaderName(lower)));
      const lines = headerLines(headers);
      for (let i = 0; i < lines.length; i += 2) {
        const name = names.find((one) => one.toLowerCase() === lines[i]?.toLowerCase());
        if (name !== undefined) view.headers.append(name, lines[i + 1] ?? "");
      }
    };
    return {
      async access(view) {
        const answer = await ask({ ...request, body: JSON.stringify({ input: inputOf(view) }) });
        if (answer === undefined) return AWAY;
        const decision = parseMembers(answer.body.toString())?.["result"];
        if (!isMembers(decision)) return NO_DECISION;
        const headers = isMembers(decision["headers"]) ? decision["headers"] : {};
        return decision["allow"] === true ? pass(view, headers) : refusal(decision, headers);
      },
    };
  },
});

function urlOf(host: string, policy: string): string {
  return `${host.replace(/\/$/, "")}/v1/data/${policy}`;
}

function refusal({ status_code: code, reason }: Members, headers: Members): Answer {
  const status = typeof code === "number" && Number.isInteger(code) && code >= 200 && code <= 599 ? code : 403;
  const lines = headerLines(headers);
  if (reason === undefined || reason === null) return bareAnswer(status, "opa_refused", lines);
  return textAnswer(status, typeof reason === "string" ? reason : JSON.stringify(reason), "opa_refused", lines);
}

/** Those that can be headers of a message; a list gives several lines. */
function headerLines(headers: Members): readonly string[] {
  return Object.entries(headers).flatMap(([name, value]) => {
    if (!isHeaderName(name) || FRAMING_HEADERS.has(name.toLowerCase())) return [];
    return (Array.isArray(value) ? value : [value]).flatMap((one: unknown) => {
      const text = typeof one === "string" || typeof one === "number" ? String(one) : "";
      return isHeaderValue(text) ? [name, text] : [];
    });
  });
}

function compileInput(conf: Conf, env: CompileEnv): (view: RequestView) => object {
  const part = (kind: "route" | "service" | "consumer", id: string | undefined): Members | undefined => {
    if (id === undefined || id === "") return undefined;
    const record = env.record(kind, id);
    return record && { ...record, upstream: undefined }; // where requests go is no matter of policy
  };
  return (view) => ({
    type: "http",
    request: {
      ...{ scheme: view.connection.scheme, method: view.head.method, host: view.host },
      ...{ port: view.connection.localPort, path: view.path },
      headers: headersOf(view),
      query: queryOf(view.head.query),
    },
    var: {
      ...{ server_addr: view.connection.localAddress, server_port: String(view.connection.localPort) },
      ...{ remote_addr: view.clientAddress, remote_port: String(view.clientPort) },
      timestamp: Math.floor(env.clock.nowMs() / 1_000),
    },
    ...(conf.with_route ? { route: part("route", view.route?.id) } : {}),
    ...(conf.with_consumer ? { consumer: part("consumer", view.consumer?.username) } : {}),
    ...(conf.with_service ? { service: part("service", view.route?.serviceId) } : {}),
  });
}

/** Names in lower case; those that stand there several times with a list. */
function headersOf({ head, headers: { lines } }: RequestView): object {
  const found = new Map<string, string | string[]>();
  for (let i = 0; i < lines.length; i += 2) add(found, lines[i]?.toLowerCase() ?? "", lines[i + 1] ?? "");
  if (!found.has("host") && head.hostHeader !== "") found.set("host", head.hostHeader);
  return Object.fromEntries(found);
}

/** Decoded; `true` is an argument without "=". */
function queryOf(query: string | undefined): object {
  const found = new Map<string, string | true | (string | true)[]>();
  for (const pair of (query ?? "").split("&")) {
    const equals = pair.indexOf("=");
    const name = decodeFormText(equals < 0 ? pair : pair.slice(0, equals));
    if (name !== "") add(found, name, equals < 0 ? true : decodeFormText(pair.slice(equals + 1)));
  }
  return Object.fromEntries(found);
}

function add<Value>(to: Map<string, Value | Value[]>, name: string, value: Value): void {
  const before = to.get(name);
  if (before === undefined) to.set(name, value);
  else if (Array.isArray(before)) before.push(value);
  else to.set(name, [before, value]);
}
