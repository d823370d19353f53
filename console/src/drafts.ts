/**
 * What was typed and not saved, by record. Promise: it outlives every page change and signing out, in this tab's memory only:
 * records hold secrets.
 */
const drafts = new Map<string, string>();

export const draftOf = (key: string): string | undefined => drafts.get(key);

export function keepDraft(key: string, text: string | undefined): void {
  if (text === undefined) drafts.delete(key);
  else drafts.set(key, text);
}

addEventListener("beforeunload", (event) => {
  if (drafts.size > 0) event.preventDefault();
});
