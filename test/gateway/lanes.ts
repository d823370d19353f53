/** Every rule is shown on both lanes: their names for `describe.each`, and what their suites open. */
import { afterAll } from "vitest";
import type { GatewaySettings } from "../../src/gateway/gateway-settings.ts";
import {
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  type RouteInput,
  routingOf,
  type TestGateway,
} from "./support.ts";

export const LANES = [
  { lane: "general lane", fastLane: false },
  { lane: "fast lane", fastLane: true },
] as const;

export interface OpenedLane {
  /** A gateway with one route for every path. */
  open(route: RouteInput, settings?: Partial<GatewaySettings>): Promise<TestGateway>;
  openWith(...input: Parameters<typeof openTestGateway>): Promise<TestGateway>;
  raw(...input: Parameters<typeof openRawUpstream>): Promise<RawUpstream>;
}

/** Call it inside `describe`: what was opened is closed after its tests, the gateways first. */
export function openLane(fastLane: boolean): OpenedLane {
  const gateways: TestGateway[] = [];
  const upstreams: RawUpstream[] = [];
  afterAll(async () => {
    await Promise.all(gateways.map((gateway) => gateway.close(0)));
    await Promise.all(upstreams.map((upstream) => upstream.close()));
  });
  const openWith: OpenedLane["openWith"] = async (routing, settings, log) => {
    const gateway = await openTestGateway(routing, { fastLane, ...settings }, log);
    gateways.push(gateway);
    return gateway;
  };
  return {
    open: (route, settings) => openWith(routingOf({ "*": route }), settings),
    openWith,
    raw: async (...input) => {
      const upstream = await openRawUpstream(...input);
      upstreams.push(upstream);
      return upstream;
    },
  };
}
