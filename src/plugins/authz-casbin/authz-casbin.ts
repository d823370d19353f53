/**
 * authz-casbin: a Casbin model and its policy say which user, named by a header, may do what where.
 * Promise: a policy is judged when it is written and again when it is compiled, never per request; what it cannot judge is
 * refused, and so is a path that reads in two ways unless all may pass. Source: APISIX 3.18 authz-casbin.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type Static, Type } from "typebox";
import { CodedError } from "../../base/errors.ts";
import { openLimitedWarn } from "../../base/log.ts";
import { definePlugin } from "../../plugin/plugin.ts";
import { bareAnswer, jsonAnswer } from "../../plugin/plugin-answer.ts";
import { confHash } from "../shared/schema-parts.ts";
import { type CasbinPolicy, compileCasbinPolicy } from "./casbin-policy.ts";

const schema = Type.Object({
  model_path: Type.Optional(Type.String()),
  policy_path: Type.Optional(Type.String()),
  model: Type.Optional(Type.String()),
  policy: Type.Optional(Type.String()),
  username: Type.String(),
});
type Conf = Static<typeof schema>;

const metadataSchema = Type.Object({ model: Type.String(), policy: Type.String() });

const DENIED = jsonAnswer(403, { message: "Access Denied" }, "casbin_denied");
const UNJUDGED = bareAnswer(503, "casbin_unjudged");
const FILE_BYTES_MAX = 4 * 1024 * 1024;

export const authzCasbin = definePlugin({
  name: "authz-casbin",
  version: 0.1,
  priority: 2560,
  explain: "run",
  schema,
  metadataSchema,
  check(conf) {
    const pairs = [
      [conf.model_path, conf.policy_path],
      [conf.model, conf.policy],
    ];
    if (pairs.some(([one, other]) => (one === undefined) !== (other === undefined)))
      return "a model and its policy go together: model_path with policy_path, model with policy";
    if (pairs.every(([one]) => one !== undefined))
      return "value should match only one schema, but matches both schemas 1 and 2";
    if (conf.model === undefined || conf.policy === undefined) return undefined;
    const compiled = compileCasbinPolicy(conf.model, conf.policy);
    return typeof compiled === "string" ? compiled : undefined;
  },
  compile(conf, env) {
    const texts = textsOf(conf, env.metadata("authz-casbin") as Static<typeof metadataSchema> | undefined);
    // Files may differ from node to node; what is missing there is this node's problem.
    if (!texts) return { rewrite: () => UNJUDGED };
    const held = env.states.hold(`authz-casbin:${confHash(texts)}`, () => policyOf(texts.model, texts.policy));
    const lower = conf.username.toLowerCase();
    const warn = openLimitedWarn(env.log, env.clock);
    return {
      rewrite({ headers, head, path }) {
        const user = headers.only(lower);
        if (user === null) return DENIED; // two users in one request are none
        const mayPass = (read: string): boolean => held.state(user ?? "anonymous", read, head.method);
        try {
          return mayPass(path) && head.otherPaths.every(mayPass) ? undefined : DENIED;
        } catch {
          warn({ plugin: "authz-casbin" }, "a policy cannot be evaluated for a request");
          return UNJUDGED;
        }
      },
      close: held.release,
    };
  },
});

function policyOf(model: string, policy: string): CasbinPolicy {
  const compiled = compileCasbinPolicy(model, policy);
  if (typeof compiled === "string") throw new CodedError("CONFIG_INVALID", { message: compiled });
  return compiled;
}

interface Texts {
  readonly model: string;
  readonly policy: string;
}

function textsOf(conf: Conf, metadata: Texts | undefined): Texts | undefined {
  const { model, policy, model_path: modelPath, policy_path: policyPath } = conf;
  if (modelPath !== undefined && policyPath !== undefined)
    return { model: readText(modelPath), policy: readText(policyPath) };
  return model !== undefined && policy !== undefined ? { model, policy } : metadata;
}

/** Of a regular file only: opening or reading another kind may never end. */
function readText(path: string): string {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const facts = fstatSync(file);
    if (!facts.isFile()) throw new CodedError("CONFIG_INVALID", { message: `${path} is not a regular file` });
    if (facts.size > FILE_BYTES_MAX)
      throw new CodedError("CONFIG_INVALID", { message: `${path} has more than ${FILE_BYTES_MAX} bytes` });
    const bytes = Buffer.alloc(facts.size);
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(file, bytes, length, bytes.length - length, length);
    return bytes.toString("utf8", 0, length);
  } finally {
    closeSync(file);
  }
}
