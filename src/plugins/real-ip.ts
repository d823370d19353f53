/**
 * real-ip: takes the client's address from a header, an argument or a cookie that a trusted proxy has set.
 * Promise: what is no address changes nothing; with trusted_addresses only those peers are believed.
 * Source: APISIX 3.18 real-ip.
 */
import { type Static, Type } from "typebox";
import {
  compileIpSet,
  type ForwardedAddress,
  forwardedAddress,
  type IpSet,
  ipListError,
  readAddress,
} from "../base/net/ip.ts";
import { Ip } from "../model/shared-schema.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { compileVariable } from "../plugin/variables/variables.ts";

const schema = Type.Object({
  trusted_addresses: Type.Optional(Type.Array(Ip, { minItems: 1 })),
  source: Type.String({ minLength: 1 }),
  recursive: Defaulted(Type.Boolean({ default: false })),
});

export const realIp = definePlugin({
  name: "real-ip",
  version: 0.1,
  priority: 23_000,
  explain: "run",
  schema,
  check: (conf) => ipListError(conf.trusted_addresses ?? []),
  compile(conf) {
    const trusted = conf.trusted_addresses && compileIpSet(conf.trusted_addresses);
    const read = compileSource(conf, trusted);
    return {
      rewrite(view) {
        if (trusted && !trusted(view.clientAddress)) return undefined;
        const found = read(view);
        if (!found) return undefined;
        view.clientAddress = found.address;
        if (found.port !== undefined) view.clientPort = found.port;
        return undefined;
      },
    };
  },
});

type ReadAddress = (view: RequestView) => ForwardedAddress | undefined;

function compileSource(conf: Static<typeof schema>, trusted: IpSet | undefined): ReadAddress {
  if (conf.source.startsWith("http_")) {
    const name = conf.source.slice("http_".length).toLowerCase().replaceAll("_", "-");
    return (view) => forwardedAddress(name, view.headers.getAll(name), conf.recursive ? trusted : undefined);
  }
  const read = compileVariable(conf.source);
  return (view) => {
    const value = read(view);
    return typeof value === "string" ? readAddress(value) : undefined;
  };
}
