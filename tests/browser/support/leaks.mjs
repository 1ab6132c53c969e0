// The last tests of every file: its logs hold no secret.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Secrets } from "./secrets.mjs";

/** Declares them. `kinds` are secrets that this file must have seen, lest the search look for nothing. */
export function testForLeaks(scene, kinds) {
  test("the search for secrets finds what a log holds", () => {
    const { secrets, logs } = scene;
    assert.deepEqual(
      kinds.filter((kind) => !secrets.kinds.includes(kind)),
      [],
      "every kind of secret was seen",
    );
    assert.match(logs, /"level":"TRACE"/, "the log is whole");
    const known = new Secrets();
    known.note("no secret", "listening");
    assert.notDeepEqual(known.findIn(logs), []);
  });

  test("the logs at TRACE hold none of the secrets", () => {
    assert.deepEqual(scene.secrets.findIn(scene.logs), []);
  });
}
