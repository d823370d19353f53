/**
 * authorization-server: serves the endpoints of an issuer that is us on a route; no upstream is called.
 * Plugins of higher priority on the same route run first. Source: docs/spec/tokens.md section 6.
 */
import { type Static, Type } from "typebox";
import { type CompileEnv, Defaulted, definePlugin, type PhaseResult, type PluginPhases } from "../../plugin/plugin.ts";
import { type Answer, bareAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import { openClientAuthentication } from "./client-authentication.ts";
import { unavailable } from "./oauth-answers.ts";
import { type EndpointHandler, openOwnTokens } from "./own-tokens.ts";
import {
  INTROSPECTION_PATH,
  JWKS_PATH,
  jwksAnswer,
  metadataAnswer,
  REVOCATION_PATH,
  TOKEN_PATH,
} from "./server-documents.ts";
import { openTokenEndpoint } from "./token-endpoint.ts";

const ENDPOINTS = ["token", "jwks", "metadata", "introspection", "revocation"] as const;

const Conf = Type.Object(
  {
    id: Type.String({ minLength: 1, maxLength: 64, pattern: "^[a-zA-Z0-9-_.]+$" }),
    endpoints: Defaulted(
      Type.Array(Type.Unsafe<(typeof ENDPOINTS)[number]>({ type: "string", enum: ENDPOINTS }), {
        ...{ minItems: 1, uniqueItems: true, default: [...ENDPOINTS] },
      }),
    ),
  },
  { additionalProperties: false },
);
type Conf = Static<typeof Conf>;

export const authorizationServer = definePlugin({
  name: "authorization-server",
  version: 0.1,
  priority: 502,
  schema: Conf,
  compile: compileConf,
});

const GET = ["GET", "HEAD"];
const POST = ["POST"];
const NOT_FOUND = bareAnswer(404, "no_such_endpoint");

interface Endpoint {
  readonly methods: readonly string[];
  handle(view: RequestView): PhaseResult;
}

function compileConf(conf: Conf, env: CompileEnv): PluginPhases {
  const serves = new Set<string>(conf.endpoints);
  const authenticate = openClientAuthentication(env);
  const token = openTokenEndpoint(env, authenticate);
  const own = openOwnTokens(env, authenticate);
  let server: AuthorizationServer | undefined;
  let paths: ReadonlyMap<string, Endpoint> = new Map();

  const renew = (found: AuthorizationServer): void => {
    const { pathname } = new URL(found.terms.issuer);
    const base = pathname === "/" ? "" : pathname;
    const metadata = metadataAnswer(found, serves);
    const document: Endpoint = { methods: GET, handle: () => metadata };
    const all = new Map<string, Endpoint>();
    const post = (name: (typeof ENDPOINTS)[number], path: string, handler: EndpointHandler): void => {
      if (serves.has(name)) all.set(`${base}${path}`, { methods: POST, handle: (view) => handler(view, found) });
    };
    post("token", TOKEN_PATH, token.handle);
    post("introspection", INTROSPECTION_PATH, own.introspect);
    post("revocation", REVOCATION_PATH, own.revoke);
    if (serves.has("jwks")) all.set(`${base}${JWKS_PATH}`, { methods: GET, handle: (view) => jwksAnswer(view, found) });
    if (serves.has("metadata")) {
      all.set(`${base}/.well-known/openid-configuration`, document);
      all.set(`/.well-known/oauth-authorization-server${base}`, document);
    }
    server = found;
    paths = all;
  };

  return {
    close() {
      own.close();
      token.close();
    },
    access(view): PhaseResult {
      const found = env.servers.get(conf.id);
      if (found === undefined) return unavailable(503, 1, "no_such_authorization_server");
      if (found !== server) renew(found);
      const endpoint = paths.get(view.path);
      if (endpoint === undefined) return NOT_FOUND;
      return endpoint.methods.includes(view.method) ? endpoint.handle(view) : wrongMethod(endpoint);
    },
  };
}

function wrongMethod({ methods }: Endpoint): Answer {
  return bareAnswer(405, "method_not_allowed", ["Allow", methods.join(", ")]);
}
