/**
 * Test tokens of consumers and credentials: signed by the admin, to try routes with. docs/admin-api.md.
 */
import { isMembers, type Members, ownMembers } from "../../base/json/members.ts";
import { keyOf } from "../../model/keys.ts";
import { KINDS, type KindName } from "../../model/kinds.ts";
import type { ReadSide } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "../admin-response.ts";
import { type Json, ref } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, anyOf, json } from "../openapi/operation.ts";
import { readStored } from "../read/stored-record.ts";
import { type ResourceTarget, recordId } from "../request-target.ts";
import { type AdminRoute, METHODS, NO_SUCH_METHOD } from "./admin-route.ts";

const LIFETIME_SECONDS = 300;
const LIFETIME_MAX_SECONDS = 86_400;

const WANTED: Json = {
  type: "object",
  properties: {
    claims: { type: "object", description: "Beside those that are set here." },
    lifetime: {
      ...{ type: "integer", minimum: 1, maximum: LIFETIME_MAX_SECONDS, default: LIFETIME_SECONDS },
      description: "Seconds.",
    },
  },
  additionalProperties: false,
};

const MINTED: Json = {
  type: "object",
  properties: { token: { type: "string" }, plugin: { type: "string" }, expires: { type: "integer" } },
  required: ["token", "plugin", "expires"],
  additionalProperties: false,
};

interface Wanted {
  readonly claims: Members;
  readonly lifetimeSeconds: number;
}

function readWanted(body: unknown): Wanted | string {
  if (!isMembers(body)) return "expected an object with claims and lifetime, or no body";
  const { claims = {}, lifetime = LIFETIME_SECONDS, ...more } = body;
  const [other] = Object.keys(more);
  if (other !== undefined) return `unknown member ${JSON.stringify(other.slice(0, 64))}: claims and lifetime are known`;
  if (!isMembers(claims)) return "claims: expected an object";
  if (!Number.isInteger(lifetime) || Number(lifetime) < 1 || Number(lifetime) > LIFETIME_MAX_SECONDS)
    return `lifetime: expected whole seconds from 1 to ${LIFETIME_MAX_SECONDS}`;
  return { claims, lifetimeSeconds: Number(lifetime) };
}

async function mint(admin: ReadSide, target: ResourceTarget, body: unknown): Promise<AdminAnswer> {
  const wanted = readWanted(body);
  if (typeof wanted === "string") return refuse(400, wanted);
  const { kind } = target;
  const id = recordId(target, target.localId ?? "");
  const stored = await readStored(admin.store, keyOf(admin.prefix, kind.name, id));
  if (!stored?.value) return KEY_NOT_FOUND;
  const plugins = ownMembers(admin.codec.open(kind, id, stored.value), "plugins");
  const plugin = Object.keys(plugins).find((name) => admin.catalog.get(name)?.mint);
  if (plugin === undefined) return refuse(400, "it has no credential that signs tokens: jwt-auth is one");
  const times = { nowSeconds: Math.floor(admin.clock.nowMs() / 1_000), lifetimeSeconds: wanted.lifetimeSeconds };
  const minted = await admin.catalog.get(plugin)?.mint?.(ownMembers(plugins, plugin), wanted.claims, times);
  if (minted === undefined || typeof minted === "string") return refuse(400, `${plugin}: ${minted}`);
  return { status: 200, body: { ...minted, plugin }, headers: { "Cache-Control": "no-store" } };
}

function routesOf(url: string, kind: KindName, operationId: string): AdminRoute[] {
  const operation = actOperation(operationId, `Sign a test token of a ${kind}.`, answer("Signed.", MINTED), {
    requestBody: { required: false, ...json(WANTED) },
  });
  const responses = { "404": answer("There is no such record.", anyOf(ref("KeyNotFound"), ref("Error"))) };
  return [
    {
      ...{ method: "POST", url, reads: "json" },
      operation: { ...operation, responses: { ...(operation["responses"] as Json), ...responses } },
      async endpoint(admin, { params: { username = "", id }, body, actor, address }) {
        const owner = kind === "credential" ? { consumer: username, localId: id ?? "" } : { localId: username };
        const made = await mint(admin, { kind: KINDS[kind], subPath: "", ...owner }, body?.value ?? {});
        if (made.status === 200)
          admin.log.info({ actor: actor.name, address, username, id }, "a test token was signed");
        return made;
      },
    },
    ...METHODS.filter((method) => method !== "POST").map(
      (method): AdminRoute => ({ method, url, reads: "nothing", endpoint: () => NO_SUCH_METHOD }),
    ),
  ];
}

export const MINT_ROUTES: readonly AdminRoute[] = [
  ...routesOf("/consumers/:username/token", "consumer", "mintConsumerToken"),
  ...routesOf("/consumers/:username/credentials/:id/token", "credential", "mintCredentialToken"),
];
