/**
 * The kind of `prometheus.metrics`: what is added to the metrics that the prometheus plugin counts.
 */
import { type Static, Type } from "typebox";
import { compileSchema } from "../base/schema/schema.ts";
import { structure } from "./setting-kinds.ts";

const COUNTED = ["http_status", "http_latency", "bandwidth"] as const;
const BUILT_IN_LABEL =
  "(?:code|route|matched_uri|matched_host|service|consumer|node|type|response_source|request_type|request_llm_model|llm_model|le)";
const CountedMetric = Type.Object(
  {
    extra_labels: Type.Optional(
      Type.Array(
        Type.Record(
          Type.String({ pattern: `^(?!__)(?!${BUILT_IN_LABEL}$)[a-zA-Z_][a-zA-Z0-9_]{0,63}$` }),
          Type.String({ pattern: "^\\$[a-zA-Z0-9_.-]{1,128}$" }),
          { minProperties: 1, maxProperties: 1, additionalProperties: false },
        ),
        { maxItems: 10 },
      ),
    ),
    expire: Type.Optional(Type.Integer({ minimum: 0, maximum: 2_000_000 })),
  },
  { additionalProperties: false },
);
/** By metric: labels added to it, each one member `{label: "$variable"}`, and the seconds a series lives unchanged. */
export type CountedMetrics = Readonly<Partial<Record<(typeof COUNTED)[number], Static<typeof CountedMetric>>>>;
const CountedMetricsSchema = Type.Object(
  Object.fromEntries(COUNTED.map((name) => [name, Type.Optional(CountedMetric)])),
  { additionalProperties: false },
);
export const countedMetrics = structure(
  "by http_status, http_latency or bandwidth: extra_labels, a list of {label: $variable} with new label names, and expire, seconds",
  (value): value is CountedMetrics =>
    compileSchema(CountedMetricsSchema).check(value) === undefined &&
    Object.values(value as object).every(hasOwnLabels),
);

/** No label may be there twice. */
function hasOwnLabels({ extra_labels: labels = [] }: Static<typeof CountedMetric>): boolean {
  const names = labels.flatMap(Object.keys);
  return new Set(names).size === names.length;
}
