/**
 * Files of requests, as both load generators read them: a line is PATH, PATH <tab> AUTHORIZATION, or
 * PATH <tab> <tab> chunked, an upload in chunks on a connection that closes behind it, or PATH <tab> AUTHORIZATION
 * <tab> lines, with ten header lines, or <tab> form, which posts FORM_BODY, or <tab> gzip, which accepts that (all four wrk only).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface RequestLine {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly chunked: boolean;
  readonly form: boolean;
  /** The answer must come compressed. */
  readonly gzip: boolean;
}

export const FORM_TYPE = "application/x-www-form-urlencoded";
export const FORM_BODY = "grant_type=client_credentials";

/** Writes a requests file; @returns its path */
export function requestsFile(folder: string, name: string, lines: readonly string[]): string {
  const path = join(folder, `${name}.txt`);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}

export function readRequests(file: string): RequestLine[] {
  return readFileSync(file, "utf8").trimEnd().split("\n").map(readLine);
}

export function readLine(line: string): RequestLine {
  const [path = "/", token, how] = line.split("\t");
  const authorization = token === "" ? undefined : token;
  return { path, authorization, chunked: how === "chunked", form: how === "form", gzip: how === "gzip" };
}
