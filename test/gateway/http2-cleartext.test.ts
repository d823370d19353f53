/** HTTP/2 with prior knowledge on the plain listener. */
import { connect } from "node:http2";
import { afterEach, describe, expect, test } from "vitest";
import { LANES } from "./lanes.ts";
import { answering, ask, OK, openRawUpstream, openTestGateway, routingOf, upstreamOf } from "./support.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

describe.each(LANES)("$lane", ({ fastLane }) => {
  test("a client is told, in HTTP/2, that HTTP/1.1 is spoken here, and others are served", async () => {
    const upstream = await openRawUpstream(answering(OK));
    closing.push(() => upstream.close());
    const gateway = await openTestGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port]) } }), { fastLane });
    closing.push(() => gateway.close(0));
    const session = connect(`http://127.0.0.1:${gateway.port}`);
    session.on("error", () => {}); // the GOAWAY says what it is
    session.request({ ":path": "/x" }).on("error", () => {});
    const told = await new Promise<{ code: number; text: string }>((resolve) =>
      session.on("goaway", (code, _last, data) => resolve({ code, text: String(data) })),
    );
    session.destroy();
    expect(told).toEqual({ code: 13, text: "this port speaks HTTP/1.1; HTTP/2 is spoken on the TLS listener" });
    expect((await ask(gateway.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n")).status).toBe(200);
    expect(upstream.connections).toBe(1);
  });
});
