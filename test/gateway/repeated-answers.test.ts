/** Answers of the gateway and of plugins that come again: each says what the first one said, and nothing of another request. */
import { describe, expect, test } from "vitest";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import { jsonAnswer, textAnswer } from "../../src/plugin/plugin-answer.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import { LANES, openLane } from "./lanes.ts";
import { ask, openClient, routingOf } from "./support.ts";

const REFUSED = jsonAnswer(401, { message: "no" }, "refused", ["WWW-Authenticate", 'Bearer realm="x"']);
const get = (path: string, lines = ""): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n${lines}\r\n`;

describe.each(LANES)("on the $lane", ({ fastLane }) => {
  const lane = openLane(fastLane);
  const answering = (answer: (view: RequestView) => Answer | undefined) => ({ plugins: [{ access: answer }] });
  /** Without what says when, and how the connection goes on. */
  const plain = (head: string): string =>
    head.replace(/\r\nDate: [^\r]+/, "\r\nDate: -").replace(/\r\n(?:Connection|Keep-Alive): [^\r]+/g, "");

  test.each<{ says: string; answer: Answer | undefined; status: number }>([
    { says: "no route", answer: undefined, status: 404 },
    { says: "a refusal of a plugin", answer: REFUSED, status: 401 },
    { says: "a text", answer: textAnswer(200, "hällo", "said"), status: 200 },
    { says: "a page", answer: Object.freeze({ status: 403, headers: [], body: undefined, reason: "x" }), status: 403 },
    { says: "no body", answer: textAnswer(204, "", "said"), status: 204 },
    { says: "a date of its own", answer: textAnswer(200, "x", "said", ["Date", "today"]), status: 200 },
    { says: "what cannot be sent", answer: textAnswer(200, "x", "said", ["X-A", "a\nb", "X-B", "b"]), status: 200 },
  ])("$says: the same each time", async ({ answer, status }) => {
    const gateway = await lane.openWith(routingOf(answer ? { it: answering(() => answer) } : {}));
    const seen = new Set<string>();
    for (let n = 0; n < 4; n++) {
      const got = await ask(gateway.port, get("/it"));
      expect(got.status).toBe(status);
      seen.add(`${plain(got.head)}\r\n\r\n${got.body}`);
    }
    expect([...seen]).toHaveLength(1);
    const closed = await ask(gateway.port, get("/it", "Connection: close\r\n"));
    expect([...seen]).toEqual([`${plain(closed.head)}\r\n\r\n${closed.body}`]);
    expect(closed.headers["connection"]).toBe("close");
    const client = await openClient(gateway.port);
    client.send(`HEAD /it HTTP/1.1\r\nHost: h\r\n\r\n${get("/it")}`);
    const both = await client.until((text) => text.split("HTTP/1.1 ").length === 3 && text.includes(`${status}`, 20));
    expect(both.split("HTTP/1.1 ")[1]?.split("\r\n\r\n")[1]).toBe("");
    client.close();
  });

  test("a plugin that writes into its answer is heard", async () => {
    const headers = ["X-Count", "0"];
    let count = 0;
    const answer = textAnswer(200, "x", "said", headers);
    const loose = { status: 200, headers: [] as string[], body: "0", reason: "said" };
    const gateway = await lane.openWith(
      routingOf({
        frozen: answering(() => {
          headers[1] = String(count++);
          return answer;
        }),
        loose: answering(() => {
          loose.body = String(count++);
          return loose;
        }),
      }),
    );
    for (let n = 0; n < 5; n++) expect((await ask(gateway.port, get("/frozen"))).headers["x-count"]).toBe(String(n));
    for (let n = 5; n < 9; n++) expect((await ask(gateway.port, get("/loose"))).body).toBe(String(n));
  });

  test("what filters, loggers and settings do is done to each", async () => {
    let filters = false;
    const log = (view: RequestView): void => view.response?.headers.set("X-Logged", "leaked");
    const filtered = {
      plugins: [
        { access: () => REFUSED, log },
        { headerFilter: (view: RequestView) => view.response?.headers.set("X-Filtered", view.path) },
      ],
    };
    const [plain, edited] = [
      routingOf({ it: { plugins: [{ access: () => REFUSED, log }] } }),
      routingOf({ it: filtered }),
    ];
    const gateway = await lane.openWith({
      match: (...asked) => (filters ? edited : plain).match(...asked),
      globalPipeline: (route) => plain.globalPipeline(route),
    });
    for (const wanted of [undefined, undefined, undefined, "/it", "/it/2", undefined]) {
      filters = wanted !== undefined;
      const got = await ask(gateway.port, get(wanted ?? "/it"));
      expect(got.headers["x-filtered"]).toBe(wanted);
      expect(got.headers["x-logged"]).toBeUndefined();
      expect(got.headers["server"]).toBe("jotgate");
    }
    gateway.configure({ fastLane, ownHeaders: ["Server", "other"] }, undefined);
    for (let n = 0; n < 3; n++) expect((await ask(gateway.port, get("/it"))).headers["server"]).toBe("other");
    const text = await gateway.scrape();
    expect(text).toContain('jotgate_http_requests_total{route="it",status="401"} 9');
  });

  test("the date goes on", async () => {
    const gateway = await lane.openWith(routingOf({ it: answering(() => REFUSED) }));
    const dateOf = async (): Promise<string | undefined> => (await ask(gateway.port, get("/it"))).headers["date"];
    const first = await dateOf();
    await expect.poll(dateOf, { timeout: 10_000 }).not.toBe(first);
  });
});
