/**
 * Settings of the ports a node listens on: callers, the Admin API, status and APISIX's Control API.
 */
import { type Static, Type } from "typebox";
import { compileSchema } from "../base/schema/schema.ts";
import { group, optional, setting, switchable } from "./setting.ts";
import { address, choice, hostName, ipRange, listOf, onOff, onOffOrOrigins, structure, text } from "./setting-kinds.ts";

const path = text("a path", /^[^\0]+$/);
const apiKey = text("1 to 256 printable ASCII characters without spaces", /^[\x21-\x7e]{1,256}$/);

type AdminKey = Static<typeof AdminKey>;
const AdminKey = Type.Object(
  {
    name: Type.String({ pattern: "^[A-Za-z0-9._-]{1,64}$" }),
    key: Type.String({ pattern: "^[\\x21-\\x7e]{1,256}$" }),
    role: Type.Union([Type.Literal("admin"), Type.Literal("viewer")]),
  },
  { additionalProperties: false },
);
const adminKeys = structure(
  "a list of {name, key, role} with role admin or viewer",
  (value): value is readonly AdminKey[] => compileSchema(Type.Array(AdminKey)).check(value) === undefined,
);

export const gateway = group("The listener for callers.", {
  listen: switchable(address, "0.0.0.0:9080", "Where plain HTTP is served."),
  show_upstream_status: setting(
    onOff,
    "off",
    "Send `X-APISIX-Upstream-Status` with every proxied response, not only when the upstream answered 5xx.",
  ),
  node_header: switchable(
    text("a header name that begins with X-", /^[Xx]-[A-Za-z0-9-]{1,62}$/),
    "off",
    "Header of every answer that holds the id of the node that gave it, such as X-Jotgate-Node; callers see it.",
  ),
  mtls_over_plain: setting(
    onOff,
    "off",
    "Serve hosts whose `ssls` record demands client certificates on the plain listener too, where nobody checks them; otherwise they are answered 421 there.",
  ),
  tls: group("The TLS listener; its certificates are the `ssls` of the Admin API.", {
    listen: switchable(address, "off", "Where HTTPS is served, such as 0.0.0.0:9443."),
    http2: setting(onOff, "on", "Offer HTTP/2 on the TLS listener."),
    min_version: setting(choice("TLSv1.2", "TLSv1.3"), "TLSv1.2", "Oldest TLS version accepted."),
    fallback_sni: optional(
      text("a host name", /^[A-Za-z0-9.*-]{1,253}$/),
      "the handshake fails",
      "Server name assumed for clients that send none.",
    ),
  }),
});

export const admin = group("The Admin API.", {
  listen: setting(address, "127.0.0.1:9180", "Where the Admin API is served."),
  key: optional(apiKey, "generated at first start on the embedded store", "Key with role admin.", {
    secret: true,
    reload: "yes",
  }),
  viewer_key: optional(apiKey, "generated at first start on the embedded store", "Key with role viewer.", {
    secret: true,
    reload: "yes",
    aliases: ["viewer_key"],
  }),
  keys: setting(adminKeys, "[]", "Further keys, each with a name for the history.", {
    secret: true,
    reload: "yes",
  }),
  allow_list: setting(listOf(ipRange), "", "Socket addresses that may use the Admin API; empty: all that reach it.", {
    reload: "yes",
  }),
  cors: setting(
    onOffOrOrigins,
    "on",
    "Send the CORS headers that APISIX's Admin API sends; with a list of origins, only to pages from there.",
  ),
  console: setting(onOff, "on", "Serve the operator's console under `/ui/`; it asks for a key (docs/console.md)."),
  tls: group("TLS of the Admin API.", {
    cert: optional(path, "plain HTTP", "PEM file of the certificate chain.", { reload: "while set" }),
    key: optional(path, "plain HTTP", "PEM file of its key.", { reload: "while set" }),
    client_ca: optional(
      path,
      "no client certificates",
      "PEM file of the authority that client certificates must be signed by.",
      { reload: "while set" },
    ),
  }),
});

export const status = group("Health, metrics and status of one node.", {
  listen: switchable(address, "127.0.0.1:9091", "Where `/ready`, `/metrics`, `/config` and `/status` are served."),
  ready_problems: setting(
    choice("ignore", "blocking", "all"),
    "ignore",
    "When `/ready` answers 503 because of records: never; while one of them makes this node refuse requests; or while there is any problem.",
  ),
  advertise: optional(
    address,
    "the address of `status.listen`",
    "Address under which other nodes reach the status port.",
  ),
  hosts: setting(
    listOf(hostName),
    "",
    "Host names it answers to, beside addresses, names without a dot, the machine's own, and those of `listen` and `advertise`.",
  ),
});

export const control = group("APISIX's Control API. It has no authentication: keep it on loopback.", {
  listen: switchable(
    address,
    "127.0.0.1:9090",
    "Where `/v1/server_info`, `/v1/schema` and `/v1/healthcheck` are served.",
  ),
  hosts: setting(
    listOf(hostName),
    "",
    "Host names it answers to, beside addresses, names without a dot, the machine's own, and that of `listen`.",
  ),
});
