/**
 * A few requests of a case, one after the other, whose answers are looked at: the load generator only counts.
 */
import { FORM_BODY, FORM_TYPE, type RequestLine, readRequests } from "./request-lines.ts";
import type { Run } from "./series.ts";
import type { Server } from "./servers.ts";

const PROBES = 8;
const PRIMED_AT_ONCE = 16;

/** @throws Error with the first answer that is not what the case expects */
export async function probe(run: Run, server: Server, requests: string): Promise<void> {
  const lines = readRequests(requests);
  for (let n = 0; n < Math.min(PROBES, lines.length); n++) {
    // From end to end; in a mixture the last line is the odd one.
    const line = lines[lines.length - 1 - Math.floor((n * lines.length) / PROBES)];
    if (line) await probeOne(run, server, line);
  }
}

async function probeOne(run: Run, server: Server, line: RequestLine): Promise<void> {
  const method = line.chunked ? "POST" : (run.method ?? "GET");
  const answer = await fetch(server.url + line.path, {
    method,
    headers: {
      ...(line.authorization !== undefined && { authorization: line.authorization }),
      ...(line.form && { "content-type": FORM_TYPE }),
      ...(line.gzip && { "accept-encoding": "gzip" }),
    },
    ...(line.form && { body: FORM_BODY }),
    ...(run.bodyBytes && { body: "x".repeat(run.bodyBytes) }),
    // The body of a stream has no length, so it goes out in chunks.
    ...(line.chunked && { body: new Blob(["hello"]).stream(), duplex: "half" }),
  });
  const body = await answer.text();
  if (answer.status !== run.expect.status) {
    const wanted = `not ${run.expect.status}: ${body.slice(0, 200)}`;
    throw new Error(`${method} ${line.path} is answered ${answer.status}, ${wanted}`);
  }
  if (line.gzip && answer.headers.get("content-encoding") !== "gzip")
    throw new Error(`${method} ${line.path} is not answered in gzip`);
  if (run.answerBytes !== undefined && body.length !== run.answerBytes) {
    throw new Error(`${method} ${line.path} is answered with ${body.length} bytes, not ${run.answerBytes}`);
  }
}

/** Sends each request once, so that a case of known tokens does not measure first looks at them. */
export async function prime(server: Server, requests: string): Promise<void> {
  const lines = readRequests(requests);
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let line = lines[next++]; line; line = lines[next++]) {
      const { path, authorization } = line;
      await (await fetch(server.url + path, authorization ? { headers: { authorization } } : {})).arrayBuffer();
    }
  };
  await Promise.all(Array.from({ length: PRIMED_AT_ONCE }, lane));
}
