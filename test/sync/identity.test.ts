import { expect, test } from "vitest";
import { parseIdentity } from "../../src/store/store-identity.ts";
import { judge } from "../../src/sync/store-acceptance.ts";

const ID = { id: "one", epoch: 1 };

test.each([
  {
    says: "the same store further on is ours",
    held: { identity: ID, applied: 5n },
    claim: { identity: ID, head: 9n },
    want: "same",
  },
  {
    says: "the same store at the same revision is ours",
    held: { identity: ID, applied: 5n },
    claim: { identity: ID, head: 5n },
    want: "same",
  },
  {
    says: "the same store at an older revision is foreign",
    held: { identity: ID, applied: 5n },
    claim: { identity: ID, head: 4n },
    want: "foreign",
  },
  {
    says: "another id is foreign, however far it is",
    held: { identity: ID, applied: 5n },
    claim: { identity: { id: "two", epoch: 9 }, head: 99n },
    want: "foreign",
  },
  {
    says: "another id that was put in the place of ours is ours, at any revision and epoch",
    held: { identity: { id: "one", epoch: 7 }, applied: 5n },
    claim: { identity: { id: "two", epoch: 2, replaces: ["none", "one"] }, head: 3n },
    want: "raised",
  },
  {
    says: "another id that was put in the place of a third one is foreign",
    held: { identity: ID, applied: 5n },
    claim: { identity: { id: "two", epoch: 2, replaces: ["three"] }, head: 99n },
    want: "foreign",
  },
  {
    says: "a lost identity is foreign",
    held: { identity: ID, applied: 5n },
    claim: { identity: undefined, head: 99n },
    want: "foreign",
  },
  {
    says: "a raised epoch is ours even at an older revision",
    held: { identity: ID, applied: 5n },
    claim: { identity: { id: "one", epoch: 2 }, head: 2n },
    want: "raised",
  },
  {
    says: "a lowered epoch is foreign",
    held: { identity: { id: "one", epoch: 2 }, applied: 5n },
    claim: { identity: ID, head: 99n },
    want: "foreign",
  },
  {
    says: "a store that got its identity since is compared as a whole, for it may be another one",
    held: { identity: undefined, applied: 5n },
    claim: { identity: ID, head: 9n },
    want: "raised",
  },
  {
    says: "an older store that got an identity since is foreign",
    held: { identity: undefined, applied: 5n },
    claim: { identity: ID, head: 4n },
    want: "foreign",
  },
  {
    says: "raised while it was refused is ours, though its identity was never held",
    held: { identity: undefined, applied: 5n, refused: ID },
    claim: { identity: { id: "one", epoch: 2 }, head: 4n },
    want: "raised",
  },
  {
    says: "an epoch that nobody saw raised proves nothing",
    held: { identity: undefined, applied: 5n, refused: undefined },
    claim: { identity: { id: "one", epoch: 2 }, head: 4n },
    want: "foreign",
  },
  {
    says: "a raised epoch of another store than the refused one proves nothing",
    held: { identity: undefined, applied: 5n, refused: ID },
    claim: { identity: { id: "two", epoch: 2 }, head: 4n },
    want: "foreign",
  },
  {
    says: "another store stays foreign when it is raised, where an identity is held",
    held: { identity: ID, applied: 5n, refused: { id: "two", epoch: 1 } },
    claim: { identity: { id: "two", epoch: 2 }, head: 99n },
    want: "foreign",
  },
  {
    says: "without identities, going on is ours",
    held: { identity: undefined, applied: 5n },
    claim: { identity: undefined, head: 5n },
    want: "same",
  },
  {
    says: "without identities, going back is foreign",
    held: { identity: undefined, applied: 5n },
    claim: { identity: undefined, head: 4n },
    want: "foreign",
  },
])("$says", ({ held, claim, want }) => {
  expect(judge(held, claim).kind).toBe(want);
});

test.each(["", "{}", "null", "[]", '{"id":1,"epoch":1}', '{"id":"a","epoch":"1"}', '{"id":"a","epoch":1.5}', "{"])(
  "an identity record of %j counts as none",
  (text) => {
    expect(parseIdentity(Buffer.from(text))).toBeUndefined();
  },
);
