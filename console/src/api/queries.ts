/**
 * What the pages ask for, each under one key of the query cache.
 */
import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { ask, call, encoded } from "./client.ts";
import type { Operations, Schemas } from "./generated.ts";

type AnswerOf<Id extends keyof Operations> = Operations[Id]["answer"];

const LIVE_MS = 3_000;

/** The person at the console. */
export const Who = createContext<AnswerOf<"whoAmI">>({ name: "", role: "viewer", version: "", prefix: "/apisix" });
export const useWho = (): AnswerOf<"whoAmI"> => useContext(Who);
export const useMayWrite = (): boolean => useWho().role === "admin";

export const useWhoAmI = (key: string): UseQueryResult<AnswerOf<"whoAmI">> =>
  useQuery({ queryKey: ["whoami", key], queryFn: () => ask("whoAmI"), staleTime: Number.POSITIVE_INFINITY });
export const useNodes = (): UseQueryResult<AnswerOf<"listNodes">> =>
  useQuery({ queryKey: ["nodes"], queryFn: () => ask("listNodes"), refetchInterval: LIVE_MS });
export const useOverview = (): UseQueryResult<AnswerOf<"getOverview">> =>
  useQuery({ queryKey: ["overview"], queryFn: () => ask("getOverview"), refetchInterval: LIVE_MS });
export const useProblems = (): UseQueryResult<AnswerOf<"listProblems">> =>
  useQuery({ queryKey: ["problems"], queryFn: () => ask("listProblems"), refetchInterval: LIVE_MS });

export const useHistory = (page: number, key: string): UseQueryResult<AnswerOf<"listHistory">> =>
  useQuery({
    queryKey: ["history", page, key],
    queryFn: () => ask("listHistory", { query: { page: String(page), page_size: "50", ...(key !== "" && { key }) } }),
  });

/** One record as it is shown; what kind it is of is the caller's to know. */
export interface RecordEntry {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
  readonly createdIndex: number;
  readonly modifiedIndex: number;
}

export interface RecordList {
  readonly list: readonly RecordEntry[];
  readonly total: number;
}

export interface LoadedRecord extends RecordEntry {
  readonly etag: string;
}

export async function readRecord(path: string): Promise<LoadedRecord> {
  const { body, headers } = await call<RecordEntry>("GET", `/${encoded(path)}`);
  return { ...body, etag: headers.get("ETag") ?? `"${body.modifiedIndex}"` };
}

export const useRecord = (path: string): UseQueryResult<LoadedRecord> =>
  useQuery({
    queryKey: ["record", path],
    queryFn: () => readRecord(path),
    refetchOnWindowFocus: false,
    enabled: path !== "",
  });

export const PAGE_SIZE = 50;

export interface ListFilter {
  readonly page: number;
  readonly search: string;
  readonly label: string;
  readonly uri: string;
}

export const useRecords = (list: string, filter: ListFilter): UseQueryResult<RecordList> =>
  useQuery({
    queryKey: ["records", list, filter],
    queryFn: async () => {
      const query = {
        ...{ page: String(filter.page), page_size: String(PAGE_SIZE) },
        ...(filter.search !== "" && { search: filter.search }),
        ...(filter.label !== "" && { label: filter.label }),
        ...(filter.uri !== "" && { uri: filter.uri }),
      };
      const { body } = await call<RecordList>("GET", `/${encoded(list)}`, { query });
      return body;
    },
    placeholderData: (former) => former,
  });

/** What a write or a dry run answers. */
export type Written = Partial<Schemas["RouteAnswer"]> & {
  readonly generated?: Readonly<Record<string, string>>;
};
