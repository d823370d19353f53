/**
 * authorization-server: serves the endpoints of an issuer that is us on a route; no upstream is called.
 * Plugins of higher priority on the same route run first. Source: docs/spec/tokens.md section 6.
 */
import { type Static, Type } from "typebox";
import type { InternalApi } from "../../plugin/internal-api.ts";
import {
  type CompileEnv,
  Defaulted,
  definePlugin,
  type NodeEnv,
  type PhaseResult,
  type PluginPhases,
} from "../../plugin/plugin.ts";
import { type Answer, bareAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer } from "../../plugin/tokens.ts";
import { holdProofs } from "../shared/dpop-proofs.ts";
import { REPLAY_SECRETS, type ReplayConf, ReplayMembers, replayError } from "../shared/replay-conf.ts";
import { openClientAuthentication } from "./client-authentication.ts";
import { unavailable } from "./oauth-answers.ts";
import { openOwnTokens } from "./own-tokens.ts";
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
    ...ReplayMembers,
  },
  { additionalProperties: false },
);
type Conf = Static<typeof Conf>;

export const authorizationServer = definePlugin({
  name: "authorization-server",
  version: 0.1,
  priority: 502,
  schema: Conf,
  encryptFields: REPLAY_SECRETS,
  check: replayError,
  compile: compileConf,
  internalApis: openApis,
});

const GET = ["GET", "HEAD"];
const POST = ["POST"];
const NOT_FOUND = bareAnswer(404, "no_such_endpoint");
const NO_SERVER = unavailable(503, 1, "no_such_authorization_server");
const ALL: ReadonlySet<string> = new Set(ENDPOINTS);

interface Endpoint {
  readonly methods: readonly string[];
  readonly handle: (view: RequestView, server: AuthorizationServer) => Answer | Promise<Answer>;
}

interface Endpoints {
  readonly by: Readonly<Record<(typeof ENDPOINTS)[number], Endpoint>>;
  close(): void;
}

/** @param serves endpoints that are offered; what is not is not named in the metadata */
function openEndpoints(env: NodeEnv, serves: ReadonlySet<string>, replay: ReplayConf): Endpoints {
  const authenticate = openClientAuthentication(env);
  const { proofs, release } = holdProofs(replay, env);
  const token = openTokenEndpoint(env, authenticate, proofs);
  const own = openOwnTokens(env, authenticate);
  const documents = new WeakMap<AuthorizationServer, Answer>();
  const metadata = (_: RequestView, server: AuthorizationServer): Answer => {
    const known = documents.get(server) ?? metadataAnswer(server, serves);
    documents.set(server, known);
    return known;
  };
  return {
    by: {
      token: { methods: POST, handle: token.handle },
      jwks: { methods: GET, handle: jwksAnswer },
      metadata: { methods: GET, handle: metadata },
      introspection: { methods: POST, handle: own.introspect },
      revocation: { methods: POST, handle: own.revoke },
    },
    close() {
      own.close();
      token.close();
      release();
    },
  };
}

function compileConf(conf: Conf, env: CompileEnv): PluginPhases {
  const serves = new Set<string>(conf.endpoints);
  const { by, close } = openEndpoints(env, serves, conf);
  let server: AuthorizationServer | undefined;
  let paths: ReadonlyMap<string, Endpoint> = new Map();

  const renew = (found: AuthorizationServer): void => {
    const { pathname } = new URL(found.terms.issuer);
    const base = pathname === "/" ? "" : pathname;
    const places: readonly (readonly [(typeof ENDPOINTS)[number], string])[] = [
      ["token", `${base}${TOKEN_PATH}`],
      ["introspection", `${base}${INTROSPECTION_PATH}`],
      ["revocation", `${base}${REVOCATION_PATH}`],
      ["jwks", `${base}${JWKS_PATH}`],
      ["metadata", `${base}/.well-known/openid-configuration`],
      ["metadata", `/.well-known/oauth-authorization-server${base}`],
    ];
    server = found;
    paths = new Map(places.flatMap(([name, path]) => (serves.has(name) ? [[path, by[name]]] : [])));
  };

  return {
    close,
    access(view): PhaseResult {
      const found = env.servers.get(conf.id);
      if (found === undefined) return NO_SERVER;
      if (found !== server) renew(found);
      const endpoint = paths.get(view.path);
      if (endpoint === undefined) return NOT_FOUND;
      return endpoint.methods.includes(view.method) ? endpoint.handle(view, found) : wrongMethod(endpoint);
    },
  };
}

const APIS = "/apisix/plugin/authorization-server/";

/** The same endpoints for public-api: `/apisix/plugin/authorization-server/{id}/{endpoint}`. */
function openApis(env: NodeEnv): readonly InternalApi[] {
  let opened: Endpoints | undefined;
  const endpointOf = (name: (typeof ENDPOINTS)[number]): Endpoint => {
    opened ??= openEndpoints(env, ALL, { dpop_replay: "node" });
    return opened.by[name];
  };
  return ENDPOINTS.map((name) => ({
    methods: name === "jwks" || name === "metadata" ? GET : POST,
    path: `${APIS}*/${name}`,
    handle(view, path) {
      const server = env.servers.get(path.slice(APIS.length, path.lastIndexOf("/")));
      return server === undefined ? NO_SERVER : endpointOf(name).handle(view, server);
    },
  }));
}

function wrongMethod({ methods }: Endpoint): Answer {
  return bareAnswer(405, "method_not_allowed", ["Allow", methods.join(", ")]);
}
