/**
 * Who calls and what is laid over their requests: consumers, credentials, consumer groups, plugin configs, global rules,
 * plugin metadata.
 * Source: docs/spec/resources.md (APISIX 3.18).
 */
import { type Static, Type } from "typebox";
import { Description, Id, Labels, metadata, Plugins, Timestamp } from "./shared-schema.ts";

export const Consumer = Type.Object(
  {
    id: Type.Optional(Id),
    username: Type.String({ minLength: 1, maxLength: 256, pattern: "^[a-zA-Z0-9_\\-]+$" }),
    desc: Type.Optional(Description),
    labels: Type.Optional(Labels),
    create_time: Type.Optional(Timestamp),
    update_time: Type.Optional(Timestamp),
    group_id: Type.Optional(Id),
    plugins: Type.Optional(Plugins),
  },
  { additionalProperties: false },
);
export type Consumer = Static<typeof Consumer>;

export const Credential = Type.Object(
  {
    ...metadata,
    id: Type.Optional(
      Type.Unsafe<string | number>({
        oneOf: [
          Id,
          {
            type: "string",
            minLength: 15,
            maxLength: 128,
            pattern: "^[a-zA-Z0-9-_]+/credentials/[a-zA-Z0-9-_.]+$",
          },
        ],
      }),
    ),
    plugins: Type.Optional(Type.Unsafe<Readonly<Record<string, unknown>>>({ type: "object", maxProperties: 1 })),
  },
  { additionalProperties: false },
);
export type Credential = Static<typeof Credential>;

export const ConsumerGroup = Type.Object({ ...metadata, id: Id, plugins: Plugins }, { additionalProperties: false });
export type ConsumerGroup = Static<typeof ConsumerGroup>;

export const PluginConfig = Type.Object(
  { ...metadata, id: Id, name: Type.Optional(Type.String()), plugins: Plugins },
  { additionalProperties: false },
);
export type PluginConfig = Static<typeof PluginConfig>;

export const GlobalRule = Type.Object(
  {
    id: Id,
    create_time: Type.Optional(Timestamp),
    update_time: Type.Optional(Timestamp),
    plugins: Plugins,
  },
  { additionalProperties: false },
);
export type GlobalRule = Static<typeof GlobalRule>;

/** Any object; a plugin with a metadata schema is stricter, see the plugin itself. */
export const PluginMetadata = Type.Unsafe<Readonly<Record<string, unknown>>>({ type: "object" });
