/**
 * public-api: answers with an API of a loaded plugin, such as jwt-auth's signing endpoint; no upstream is called.
 * Plugins of higher priority on the same route run first, and so protect it. Source: docs/spec/plugins.md section 3.
 */
import { Type } from "typebox";
import { definePlugin } from "../plugin/plugin.ts";
import { bareAnswer } from "../plugin/plugin-answer.ts";

const NOT_FOUND = bareAnswer(404, "no_such_api");

export const publicApi = definePlugin({
  name: "public-api",
  version: 0.1,
  priority: 501,
  explain: { not: "it runs an internal API" },
  schema: Type.Object({
    /** The API's path; absent: the path of the request. */
    uri: Type.Optional(Type.String()),
  }),
  compile: (conf, env) => ({
    access(view) {
      const path = conf.uri ?? view.path;
      const api = env.internalApi(path);
      return api?.methods.includes(view.method) ? api.handle(view, path) : NOT_FOUND;
    },
  }),
});
