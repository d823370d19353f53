/**
 * proxy-mirror: sends a copy of requests elsewhere, and throws the answers away.
 * Promise: the caller waits for nothing of it; what a mirror does not take in time is dropped. Source: APISIX 3.18 proxy-mirror.
 */
import { type Static, Type } from "typebox";
import { type CompileEnv, Defaulted, definePlugin } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { confHash, Words } from "../shared/schema-parts.ts";
import { MirrorTarget } from "./mirror-target.ts";

const schema = Type.Object({
  host: Type.String({
    pattern: "^(http(s)?|grpc(s)?):\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?$",
    description: "Scheme, host and port of the mirror, without a path.",
  }),
  path: Type.Optional(
    Type.String({ pattern: "^/[^?&]+$", description: "Path at the mirror; default: that of the request." }),
  ),
  path_concat_mode: Defaulted(
    Words(["replace", "prefix"], {
      default: "replace",
      description: "Whether `path` stands for the path of the request, or before it.",
    }),
  ),
  sample_ratio: Defaulted(
    Type.Number({ minimum: 0.00001, maximum: 1, default: 1, description: "Part of the requests that are mirrored." }),
  ),
});
type Conf = Static<typeof schema>;

/** What the mirror is asked, from the rewrite phase to the first try of an upstream. */
const MIRRORED = "proxy-mirror target";

export const proxyMirror = definePlugin({
  name: "proxy-mirror",
  version: 0.1,
  priority: 1010,
  explain: { not: "it sends a copy of the request elsewhere" },
  schema,
  compile(conf, env) {
    const { state: target, release } = holdTarget(conf, env);
    const note = `${MIRRORED} ${env.resource.kind}/${env.resource.id}`;
    return {
      rewrite(view) {
        if (conf.sample_ratio === 1 || Math.random() < conf.sample_ratio) view.setNote(note, targetOf(conf, view));
        return undefined;
      },
      beforeProxy(view) {
        const path = view.note(note);
        if (typeof path !== "string" || view.head.upgrade !== undefined) return;
        view.setNote(note, undefined); // the first try only
        target.mirror(view, path);
      },
      close: release,
    };
  },
});

function targetOf({ path, path_concat_mode: mode }: Conf, view: RequestView): string {
  const query = view.query === undefined ? "" : `?${view.query}`;
  if (path === undefined) return view.upstreamPath + query;
  return (mode === "prefix" ? path + view.upstreamPath : path) + query;
}

function holdTarget({ host }: Conf, env: CompileEnv) {
  return env.states.hold(
    `proxy-mirror:${confHash({ host })}`,
    () => new MirrorTarget(host, env),
    (target) => target.close(),
  );
}
