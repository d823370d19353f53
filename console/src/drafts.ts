/**
 * What was typed and not saved, by record. Promise: it outlives every page change and signing out, in this tab's memory only:
 * records hold secrets.
 */
import { useState } from "react";

const drafts = new Map<string, string>();

export const draftOf = (key: string): string | undefined => drafts.get(key);

export function keepDraft(key: string, text: string | undefined): void {
  if (text === undefined) drafts.delete(key);
  else drafts.set(key, text);
}

/** What was typed into a form that writes nothing yet: it is there again after other pages, and after signing in anew. */
const kept = new Map<string, string>();

export function keepText(name: string, text: string): void {
  kept.set(name, text);
}

export function useKept(name: string, first = ""): readonly [string, (text: string) => void] {
  const [text, setText] = useState(() => kept.get(name) ?? first);
  const keep = (next: string): void => {
    keepText(name, next);
    setText(next);
  };
  return [text, keep];
}

addEventListener("beforeunload", (event) => {
  if (drafts.size > 0) event.preventDefault();
});
