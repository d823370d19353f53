/**
 * Which responses gzip and brotli compress, and the fields that say so. Source: APISIX 3.18 gzip and brotli.
 */
import { type Static, type TProperties, Type } from "typebox";
import type { ContentCoding } from "../../plugin/body-stages.ts";
import { type CompileEnv, Defaulted, type PluginPhases } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { type CoderParts, codedBody } from "./coded-body.ts";

const codingFields = {
  types: Defaulted(
    Type.Unsafe<readonly string[] | "*">({
      anyOf: [{ type: "array", minItems: 1, items: { type: "string", minLength: 1 } }, { enum: ["*"] }],
      default: ["text/html"],
      description: "Media types that are compressed, without parameters; `*`: all.",
    }),
  ),
  min_length: Defaulted(
    Type.Integer({ minimum: 1, default: 20, description: "Bodies that are known to be shorter stay as they are." }),
  ),
  http_version: Defaulted(
    Type.Unsafe<1.1 | 1.0>({ enum: [1.1, 1.0], default: 1.1, description: "Least HTTP version of the client." }),
  ),
  vary: Type.Optional(
    Type.Boolean({ description: "Add `Vary: Accept-Encoding` to all responses that can be compressed." }),
  ),
};

const codingSchema = Type.Object(codingFields);

/** The schema of a plugin that compresses. */
export function schemaOfCoding<P extends TProperties>(own: P) {
  return Type.Object({ ...codingFields, ...own });
}

/** Of all codings of a process together, in bytes as the codecs need them. */
const MEMORY_MAX = 268_435_456;

/** The phases of a plugin that offers a coding. */
export function codingPhases(
  name: string,
  conf: Static<typeof codingSchema>,
  env: CompileEnv,
  parts: CoderParts,
): PluginPhases {
  const { min_length: least, types } = conf;
  const known: ReadonlySet<string> | undefined =
    types === "*" ? undefined : new Set(types.map((type) => type.toLowerCase()));
  const { state: memory, release } = env.states.hold("content coding", () => ({ bytes: 0 }));
  const results = env.metrics.counter(
    "jotgate_coded_responses_total",
    "Responses that a content coding was chosen for: coded, or sent plain for want of memory.",
    ["coding", "result"],
  );
  const coded = results.child(name, "coded");
  const plain = results.child(name, "no_memory");
  const coding: ContentCoding = {
    name,
    vary: conf.vary === true,
    isFor(view, { headers }, length) {
      if (length !== undefined && length < least) return false;
      const type = headers.get("content-type");
      if (type === undefined || versionOf(view) < conf.http_version) return false;
      return known === undefined || known.has(mediaType(type));
    },
    hasRoom(length) {
      const has = memory.bytes + parts.memoryOf(length) <= MEMORY_MAX;
      (has ? coded : plain).inc();
      return has;
    },
    transform: codedBody(parts, memory),
  };
  return { headerFilter: (_view, response) => response.offerCoding(coding), close: release };
}

function versionOf(view: RequestView): number {
  return Number(view.head.httpVersion);
}

function mediaType(value: string): string {
  const end = value.indexOf(";");
  return (end < 0 ? value : value.slice(0, end)).trim().toLowerCase();
}
