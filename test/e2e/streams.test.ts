/**
 * Long bodies through a real node, both ways and on both lanes: whole, in flat memory, at the pace of the slower side.
 */
import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { percentile } from "../support/load.ts";
import { bounded } from "../support/long-run.ts";
import { mib, watchMemory } from "../support/memory.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";
import { metricsOf, sampleOf } from "../support/scrape.ts";
import { hashOf, openDownload, readContent, startStreamUpstream, startUpload } from "../support/streams.ts";

/** More than all socket buffers on the way take together: 2 x (32 + 4) MiB at most with Linux's defaults. */
const BODY_BYTES = mib(bounded(128, 2048));
const GROWTH_MIB = 64; // of resident memory over one transfer; the bodies are 2 to 32 times larger
const EVENTS = bounded(200, 2_000);
const say = (text: string): void => void process.stdout.write(`\n${text}\n`);

describe.each([
  { lane: "fast lane", fastLane: "on" },
  { lane: "general lane", fastLane: "off" },
] as const)("$lane", ({ lane, fastLane }) => {
  let upstream: Awaited<ReturnType<typeof startStreamUpstream>>;
  let node: Node;

  beforeAll(async () => {
    upstream = await startStreamUpstream();
    node = await startNode("start", { args: ["--fast-lane", fastLane] });
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 };
    const put = await admin(node, "PUT", "/routes/1", { uri: "/*", upstream: { type: "roundrobin", nodes } });
    expect(put.status).toBe(201);
    await until("the route", async () => (await fetch(`${node.gateway}/warm`)).ok);
    // Code is compiled and buffers are there before anything is measured.
    for (const framing of ["length", "chunked"] as const) {
      await startUpload(`${node.gateway}/take`, mib(16), framing).answer;
      await readContent(await openDownload(`${node.gateway}/give?bytes=${mib(16)}&framing=${framing}`));
    }
  });

  afterAll(async () => {
    await node?.stop("SIGKILL");
    await upstream?.stop();
  });

  /** Runs a transfer; prints its speed and what it did to the node's memory. */
  async function measured<T>(what: string, bytes: number, transfer: () => Promise<T>): Promise<T> {
    const watch = watchMemory(node.pid);
    const startMs = performance.now();
    const result = await transfer();
    const seconds = (performance.now() - startMs) / 1_000;
    const memory = watch.stop();
    const growth = memory ? memory.peak - memory.start : Number.NaN;
    const mibs = bytes / mib(1);
    say(
      `${lane}, ${what}: ${mibs} MiB at ${(mibs / seconds).toFixed(0)} MiB/s, resident memory ` +
        (memory ? `${memory.start.toFixed(0)} MiB, at most +${growth.toFixed(0)} MiB` : "not known here"),
    );
    if (memory) expect(growth).toBeLessThan(GROWTH_MIB);
    return result;
  }

  const allFreed = (): Promise<unknown> =>
    until("no upstream connection is at work", async () => {
      const active = sampleOf(await metricsOf(node), "jotgate_upstream_connections", 'state="active"');
      return active === 0 && upstream.running === 0;
    });

  test.each(["length", "chunked"] as const)(
    "an upload (%s) arrives whole in flat memory, and waits for an upstream that does not read",
    async (framing) => {
      upstream.hold();
      const read = await measured(`upload, ${framing}`, BODY_BYTES, async () => {
        const upload = startUpload(`${node.gateway}/take`, BODY_BYTES, framing);
        await standsStill(() => upload.sent());
        expect(upload.sent()).toBeLessThan(BODY_BYTES);
        upstream.release();
        return upload.answer;
      });
      expect(read).toEqual({ bytes: BODY_BYTES, hash: hashOf(BODY_BYTES) });
      expect(upstream.framing).toBe(framing === "length" ? String(BODY_BYTES) : "chunked");
    },
  );

  test.each([
    { framing: "length", header: "content-length", value: String(BODY_BYTES) },
    { framing: "chunked", header: "transfer-encoding", value: "chunked" },
  ] as const)(
    "a download ($framing) arrives whole in flat memory, and waits for a client that does not read",
    async ({ framing, header, value }) => {
      const read = await measured(`download, ${framing}`, BODY_BYTES, async () => {
        const incoming = await openDownload(`${node.gateway}/give?bytes=${BODY_BYTES}&framing=${framing}`);
        expect(incoming.headers[header]).toBe(value);
        await standsStill(() => upstream.given);
        expect(upstream.given).toBeLessThan(BODY_BYTES);
        return readContent(incoming);
      });
      expect(read).toEqual({ bytes: BODY_BYTES, hash: hashOf(BODY_BYTES) });
    },
  );

  test("a client that writes slowly is passed on as it writes", async () => {
    const size = mib(1);
    const outgoing = request(`${node.gateway}/take`, {
      method: "POST",
      headers: { "Content-Length": size },
      agent: false,
    });
    const answered = new Promise((ok, fail) => outgoing.on("response", ok).on("error", fail));
    outgoing.flushHeaders();
    for (let sent = 0; sent < size; sent += 65_536) {
      outgoing.write(Buffer.alloc(65_536));
      await until("the upstream has what was written", () => upstream.taken === sent + 65_536);
    }
    outgoing.end();
    await answered;
  });

  test("a client that goes away midway frees the upstream: download", async () => {
    const incoming = await openDownload(`${node.gateway}/give?bytes=${BODY_BYTES}&framing=length`);
    incoming.on("error", () => {});
    incoming.once("data", () => incoming.destroy());
    await allFreed();
    expect(upstream.given).toBeLessThan(BODY_BYTES);
  });

  test("a client that goes away midway frees the upstream: upload", async () => {
    const before = upstream.broken;
    upstream.hold();
    const upload = startUpload(`${node.gateway}/take`, BODY_BYTES, "length");
    await until("the upload has begun", () => upstream.running === 1 && upload.sent() > mib(1));
    upload.outgoing.destroy();
    upstream.release();
    await allFreed();
    expect(upstream.broken).toBe(before + 1);
  });

  test.each(["length", "chunked"] as const)(
    "an upstream that breaks off midway never looks complete to the client (%s)",
    async (framing) => {
      const incoming = await openDownload(`${node.gateway}/give?bytes=${BODY_BYTES}&framing=${framing}`);
      await standsStill(() => upstream.given);
      upstream.cut();
      await expect(readContent(incoming)).rejects.toThrow();
      await allFreed();
    },
  );

  test("an upstream that breaks off midway ends an upload with 502", async () => {
    upstream.hold();
    const upload = startUpload(`${node.gateway}/take`, BODY_BYTES, "chunked");
    await until("the upload has begun", () => upstream.running === 1 && upload.sent() > mib(1));
    upstream.cut();
    await expect(upload.answer).rejects.toThrow(/502|ECONNRESET|EPIPE/);
    upstream.release();
    await allFreed();
  });

  test("events of a stream pass one by one as they come", async () => {
    const direct = await latencies(`http://127.0.0.1:${upstream.port}/events`);
    const through = await latencies(`${node.gateway}/events`);
    const row = (times: readonly number[]): string =>
      `p50 ${percentile(times, 0.5).toFixed(2)} ms, p99 ${percentile(times, 0.99).toFixed(2)} ms`;
    const added = percentile(through, 0.5) - percentile(direct, 0.5);
    say(
      `${lane}, server-sent events, ${EVENTS}: direct ${row(direct)}; through the gateway ${row(through)}; ` +
        `added at p50 ${added.toFixed(2)} ms (aim: below 5 ms)`,
    );
    // Each was asked for when the one before had arrived: held back, the first would never have come.
    expect(through).toHaveLength(EVENTS);
    await allFreed();
  });

  /** Time from writing an event to reading it, one after the other. */
  async function latencies(url: string): Promise<number[]> {
    const incoming = await openDownload(url);
    const times: number[] = [];
    let arrived: (text: string) => void = () => {};
    incoming.on("data", (chunk: Buffer) => arrived(chunk.toString()));
    incoming.on("error", () => {});
    for (let i = 0; i < EVENTS; i++) {
      const startMs = performance.now();
      const text = await new Promise<string>((ok) => {
        arrived = ok;
        upstream.event(`${i}`);
      });
      times.push(performance.now() - startMs);
      expect(text).toBe(`data: ${i}\n\n`);
    }
    incoming.destroy();
    return times;
  }
});

/** Resolves when a number that has left 0 has not grown for a while. */
async function standsStill(read: () => number): Promise<void> {
  let last = -1;
  let sinceMs = performance.now();
  await until("it stands still", () => {
    const now = read();
    if (now !== last) sinceMs = performance.now();
    last = now;
    return now > 0 && performance.now() - sinceMs > 300;
  });
}
