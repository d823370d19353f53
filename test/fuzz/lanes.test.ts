/**
 * The fast lane against the general lane, whole connections with plugins: the same bytes get the same answers and show
 * the upstream the same requests.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { textAnswer } from "../../src/plugin/plugin-answer.ts";
import {
  cutResponse,
  openClient,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  type TestGateway,
  upstreamOf,
} from "../gateway/support.ts";
import { Dice, damage, makeRequest, seeds } from "./http-input.ts";

const MARK = "x-case";

interface Side {
  readonly gateway: TestGateway;
  readonly upstream: RawUpstream;
  /** Requests the upstream saw, by the number of the case in their path. */
  readonly seen: Map<string, string[]>;
}

/** Answers in ways that depend on the request, so that answers cannot be mixed up unseen. */
function answerTo(request: string): string {
  const target = request.split(" ", 2)[1] ?? "";
  const head = request.startsWith("HEAD ");
  const body = `${request.length} ${target}`;
  switch (request.length % 4) {
    case 0:
      return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-T: ${request.length}\r\n\r\n${head ? "" : `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`}`;
    case 1:
      return "HTTP/1.1 204 No Content\r\n\r\n";
    case 2:
      return `HTTP/1.1 503 Busy\r\nContent-Length: ${body.length}\r\n\r\n${head ? "" : body}`;
    default:
      return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n${head ? "" : body}`;
  }
}

/** Requests of one connection, one after the other. */
function splitRequests(text: string): { readonly whole: string[]; readonly rest: string } {
  const whole: string[] = [];
  let rest = text;
  for (;;) {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) return { whole, rest };
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(rest.slice(0, end))?.[1] ?? 0);
    if (rest.length < end + 4 + length) return { whole, rest };
    whole.push(rest.slice(0, end + 4 + length));
    rest = rest.slice(end + 4 + length);
  }
}

async function openSide(fastLane: boolean): Promise<Side> {
  const seen = new Map<string, string[]>();
  const done = new WeakMap<object, number>();
  const upstream = await openRawUpstream((socket, all) => {
    const { whole } = splitRequests(all);
    for (let i = done.get(socket) ?? 0; i < whole.length; i++) {
      const request = whole[i] as string;
      const mark = /\r\nx-case: (\d+)/i.exec(request)?.[1] ?? "";
      seen.set(mark, [...(seen.get(mark) ?? []), request]);
      socket.write(answerTo(request), "latin1");
    }
    done.set(socket, whole.length);
  });
  const plugins: PluginPhases[] = [
    {
      rewrite: (view) => {
        if (view.header("cookie") === "value") return textAnswer(401, "denied\n", "denied", ["X-Why", "cookie"]);
        view.headers.set("X-Consumer-Username", "jack");
        return undefined;
      },
      access: async (view) => {
        if (view.path.startsWith("/a")) view.headers.append("X-Body", String((await view.body.read(1000)).length));
        return undefined;
      },
      headerFilter: (view, response) => {
        response.headers.set("X-Method", view.head.method);
        response.headers.set("X-Filtered", String(response.status));
      },
    },
  ];
  const routing = routingOf({ "*": { upstream: upstreamOf([upstream.port]), plugins } });
  // The case number travels in a header that the lanes know nothing of.
  const gateway = await openTestGateway(routing, { fastLane, headTimeoutMs: 60_000 });
  return { gateway, upstream, seen };
}

let fast: Side;
let general: Side;

beforeAll(async () => {
  [fast, general] = await Promise.all([openSide(true), openSide(false)]);
});

afterAll(async () => {
  await Promise.all([fast, general].map((side) => side.gateway.close(0)));
  await Promise.all([fast, general].map((side) => side.upstream.close()));
});

interface Outcome {
  readonly answers: readonly string[];
  readonly requests: readonly string[];
}

/** Sends the bytes in pieces, and what came back, without what may differ between lanes. */
async function run(side: Side, bytes: string, mark: string, cuts: readonly number[]): Promise<Outcome> {
  const client = await openClient(side.gateway.port);
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    client.send(bytes.slice(at, cut));
    at = cut;
    if (at < bytes.length) await new Promise((resolve) => setImmediate(resolve));
  }
  // The last request asks to close; when it was swallowed by the one before, nobody answers any more.
  await client.until((text) => text.includes("X-Last"), 250).catch(() => undefined);
  const text = await client.untilClosed(250).catch(() => client.text);
  client.close();
  return { answers: readAnswers(text), requests: (side.seen.get(mark) ?? []).map(withoutPorts) };
}

function readAnswers(text: string): string[] {
  const answers: string[] = [];
  let rest = text;
  while (rest !== "") {
    const isHead = cutResponse(rest, true)?.headers["x-method"] === "HEAD";
    const answer = cutResponse(rest, isHead);
    // A refused HEAD has no body, whatever its length says.
    if (!answer) return [...answers, rest.startsWith("HTTP/1.1 400 ") ? "refused" : `broken ${rest.slice(0, 12)}`];
    const { date, connection, "keep-alive": _, ...headers } = answer.headers;
    const ends = connection === "close" ? "close" : "open";
    const dated = date === undefined ? "no date" : "date";
    // A request that turns out to be malformed behind its head may have been answered by then, or not.
    if (ends === "close" && answer.status >= 400 && answer.status < 500) answers.push("refused");
    else answers.push(`${answer.status} ${ends} ${dated} ${JSON.stringify(headers)} ${answer.body}`);
    rest = answer.rest;
  }
  return answers;
}

function withoutPorts(request: string): string {
  // Without a Host of the client's, the target's is sent.
  return request.replace(/\r\nX-Forwarded-Port: \d+/, "").replace(/\r\nHost: 127\.0\.0\.1:\d+/, "");
}

test("both lanes answer the same and forward the same", async ({ task }) => {
  const { from, to } = seeds(400, task.timeout);
  const width = 16;
  for (let seed = from; seed < to; seed += width) {
    const batch = Array.from({ length: Math.min(width, to - seed) }, (_, i) => seed + i);
    await Promise.all(
      batch.map(async (one) => {
        const dice = new Dice(one);
        const mark = String(one);
        const count = 1 + dice.under(3);
        let bytes = "";
        for (let i = 0; i < count; i++) {
          const request = makeRequest(dice).replace("\r\n", `\r\n${MARK}: ${mark}\r\n`);
          bytes += dice.chance(3) ? damage(dice, request) : request;
        }
        bytes += `GET /last HTTP/1.1\r\nHost: h\r\n${MARK}: ${mark}\r\nConnection: close\r\n\r\n`;
        const cuts = dice.chance(2) ? [] : [dice.under(bytes.length), dice.under(bytes.length)].sort((a, b) => a - b);
        const [a, b] = await Promise.all([run(fast, bytes, mark, cuts), run(general, bytes, mark, cuts)]);
        expect(a, `FUZZ_SEED=${one}: ${JSON.stringify(bytes)} cut at ${cuts.join()}`).toEqual(b);
      }),
    );
  }
  const text = await fast.gateway.scrape();
  expect(Number(/lane="fast"} (\d+)/.exec(text)?.[1])).toBeGreaterThan(to - from > 1 ? 100 : -1);
});
