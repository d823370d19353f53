/**
 * request-id: gives every request an id that goes upstream and back; a client's own id is kept.
 * Source: docs/spec/plugins.md section 10, APISIX 3.18.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../../plugin/plugin.ts";
import { headerError } from "../shared/header-operations.ts";
import { Words } from "../shared/schema-parts.ts";
import { makeKsuid, makeNanoid, makeRangeId, makeUuid, makeUuidV7 } from "./request-id-forms.ts";

const CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIGKLMNOPQRSTUVWXYZ0123456789";

const schema = Type.Object({
  header_name: Defaulted(Type.String({ default: "X-Request-Id" })),
  include_in_response: Defaulted(Type.Boolean({ default: true })),
  algorithm: Defaulted(Words(["uuid", "nanoid", "range_id", "ksuid", "uuidv7"], { default: "uuid" })),
  range_id: Defaulted(
    Type.Object(
      {
        length: Defaulted(Type.Integer({ minimum: 6, default: 16 })),
        char_set: Defaulted(Type.String({ minLength: 6, default: CHARACTERS })),
      },
      { default: { length: 16, char_set: CHARACTERS } },
    ),
  ),
});

export const requestId = definePlugin({
  name: "request-id",
  version: 0.1,
  priority: 12_015,
  explain: "run",
  schema,
  check: (conf) => headerError(conf.header_name, ""),
  compile(conf, env) {
    const name = conf.header_name;
    const lower = name.toLowerCase();
    const make = {
      uuid: makeUuid,
      uuidv7: () => makeUuidV7(env.clock.nowMs()),
      nanoid: makeNanoid,
      ksuid: () => makeKsuid(env.clock.nowMs()),
      range_id: () => makeRangeId(conf.range_id.length, conf.range_id.char_set),
    }[conf.algorithm];
    const note = `request-id:${lower}`;
    return {
      rewrite(view) {
        const sent = view.header(lower);
        const id = sent === undefined || sent === "" ? make() : sent;
        if (id !== sent) view.headers.set(name, id);
        view.setNote("request_id", id); // what $request_id, logs and other plugins read
        view.setNote(note, id);
        return undefined;
      },
      headerFilter(view, response) {
        if (!conf.include_in_response || response.headers.get(lower)) return;
        const id = view.note(note);
        if (typeof id === "string") response.headers.set(name, id);
      },
    };
  },
});
