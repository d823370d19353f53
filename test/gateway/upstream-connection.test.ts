import { Socket } from "node:net";
import { expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { HeadMemory } from "../../src/gateway/http/remembered-bytes.ts";
import { TimerWheel } from "../../src/gateway/timer-wheel.ts";
import type { UpstreamCall, UpstreamFailure } from "../../src/gateway/upstream/upstream-call.ts";
import { UpstreamConnection } from "../../src/gateway/upstream/upstream-connection.ts";
import { RememberedHead } from "../../src/gateway/upstream/upstream-response.ts";
import { WriteScheduler } from "../../src/gateway/write-scheduler.ts";

const timeouts = { connectMs: 300, sendMs: 300, readMs: 300 };

function open(): {
  call: UpstreamCall;
  clock: FakeClock;
  connection: UpstreamConnection;
  socket: Socket;
  failures: UpstreamFailure[];
  gone: () => number;
} {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  wheel.start();
  let gone = 0;
  const failures: UpstreamFailure[] = [];
  const home = {
    wheel,
    writes: new WriteScheduler(),
    limits: { headBytes: 1000, headerLines: 10 },
    heads: new RememberedHead(new HeadMemory(0)),
    keep: () => true,
    gone: () => {
      gone++;
    },
  };
  const connection = new UpstreamConnection(home, timeouts);
  const nothing = (): void => {};
  const call: UpstreamCall = {
    method: "GET",
    upgrade: undefined,
    onConnected: nothing,
    onStream: nothing,
    response: { onInterim: nothing, onHead: nothing, onData: nothing, onEnd: nothing, onFlush: nothing },
    onDrain: nothing,
    onFailed: (failure) => void failures.push(failure),
  };
  connection.reserve(call);
  const socket = new Socket();
  connection.attach(socket);
  return { call, clock, connection, socket, failures, gone: () => gone };
}

test("a connection that is not established in time fails as a connect time-out, with nothing sent", () => {
  const { clock, failures, gone } = open();
  clock.advance(250);
  expect(failures).toEqual([]);
  clock.advance(200);
  expect(failures).toMatchObject([{ kind: "connect_timeout", sent: false, reused: false, answered: false }]);
  expect(gone()).toBe(1);
});

test.each([
  { code: "ERR_TLS_CERT_ALTNAME_INVALID", nameRefused: true },
  { code: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME", nameRefused: true },
  { code: "CERT_HAS_EXPIRED", nameRefused: false },
  { code: "ECONNREFUSED", nameRefused: false },
])("a connection that fails with $code was refused over its name: $nameRefused", ({ code, nameRefused }) => {
  const { socket, failures } = open();
  socket.emit("error", Object.assign(new Error(code), { code }));
  expect(failures).toMatchObject([{ kind: "connect", nameRefused }]);
});

test("a call that is abandoned while it connects hears nothing more", () => {
  const { call, clock, connection, failures, gone } = open();
  connection.abandon(call);
  clock.advance(1000);
  expect(failures).toEqual([]);
  expect(gone()).toBe(1);
});

test("bytes nobody asked for close an idle connection", () => {
  const { connection, gone } = open();
  connection.opened();
  connection.destroy();
  connection.received(Buffer.from("HTTP/1.1 408 Request Timeout\r\n\r\n"), "kept");
  expect(gone()).toBe(1);
});
