/** What upstreams are told about tries that say nothing about them, and names that never resolve. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AttemptOutcome, Attempts, Target, UpstreamUnit } from "../../src/runtime/upstream/upstream-unit.ts";
import { LANES } from "./lanes.ts";
import {
  ask,
  openClient,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  type TestGateway,
  upstreamOf,
  waitFor,
} from "./support.ts";

const REQUEST = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

describe.each(LANES)("$lane", ({ fastLane }) => {
  let silent: RawUpstream;
  const opened: TestGateway[] = [];

  beforeAll(async () => {
    silent = await openRawUpstream(() => {});
  });

  afterAll(async () => {
    await Promise.all(opened.map((gateway) => gateway.close(0)));
    await silent.close();
  });

  async function open(upstream: UpstreamUnit, upstreamConnections = 10): Promise<TestGateway> {
    const gateway = await openTestGateway(routingOf({ "*": { upstream } }), { fastLane, upstreamConnections });
    opened.push(gateway);
    return gateway;
  }

  /** Its name is looked up until `resolve` is called. */
  function lookedUp(): { upstream: UpstreamUnit; outcomes: AttemptOutcome[]; resolve: (found: boolean) => void } {
    const outcomes: AttemptOutcome[] = [];
    const tried: Target[] = [];
    let resolve: (found: boolean) => void = () => {};
    const found = new Promise<boolean>((done) => {
      resolve = done;
    });
    const target = upstreamOf([silent.port])
      .start(undefined as never)
      ?.next() as Target;
    const attempts: Attempts = {
      tried,
      next: () => found.then((isFound) => (isFound && tried.push(target) ? target : undefined)),
      nextAddress: () => undefined,
      mayRetry: () => "exhausted",
      report: (outcome) => void outcomes.push(outcome),
    };
    return { upstream: { ...upstreamOf([silent.port]), start: () => attempts }, outcomes, resolve };
  }

  test("a name that was never resolved is answered 503", async () => {
    const { upstream, resolve } = lookedUp();
    const gateway = await open(upstream);
    resolve(false);
    const answer = await ask(gateway.port, REQUEST);
    expect(answer.status).toBe(503);
    expect(await gateway.scrape()).toContain('jotgate_gateway_errors_total{reason="upstream_unresolved"} 1');
  });

  test("a target found after the client left is given back", async () => {
    const { upstream, outcomes, resolve } = lookedUp();
    const gateway = await open(upstream);
    const client = await openClient(gateway.port);
    client.send(REQUEST);
    await waitFor(async () => (await gateway.scrape()).includes("jotgate_http_requests_in_flight 1"));
    client.close();
    await waitFor(async () => (await gateway.scrape()).includes("jotgate_http_requests_in_flight 0"));
    resolve(true);
    await waitFor(() => outcomes.length > 0);
    expect(outcomes).toEqual([{ kind: "aborted" }]);
    expect(silent.connections).toBe(0);
  });

  test("our own limit of connections is not held against the target", async () => {
    const upstream = upstreamOf([silent.port]);
    const gateway = await open(upstream, 1);
    const first = await openClient(gateway.port);
    first.send(REQUEST);
    await waitFor(() => silent.all.includes("GET /x"));
    const answer = await ask(gateway.port, REQUEST);
    expect(answer.status).toBe(503);
    expect(upstream.outcomes).toEqual([{ kind: "aborted" }]);
    first.close();
  });
});
