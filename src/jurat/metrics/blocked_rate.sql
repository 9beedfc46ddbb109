/*---
title = "Blocked rate"
question = "What share of turns did a filter block?"
kind = "proportion"
better = "neither"
role = "guardrail"
unit = "turn"
cluster = "user"
slices = ["release", "endpoint", "tier"]
owner = "safety"
source = "jurat"

[needs.spans]
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
blocked = "bool"

[[example]]
name = "a turn that no filter looked at does not count, so u3 has no row; turns of nobody in particular do"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 3, k = 2 },
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u2", n = 1, k = 0 },
  { release = "r2", endpoint = "/chat", n = 2, k = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", blocked = true },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", blocked = true },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", blocked = false },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u2", blocked = false },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u2" },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u3" },
  { release = "r2", endpoint = "/chat", blocked = true },
  { release = "r2", endpoint = "/chat", blocked = false },
]
---*/
-- Errors count too: a filter that blocks often ends the turn with one.
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE blocked) AS BIGINT) AS k
FROM spans
WHERE blocked IS NOT NULL
GROUP BY release, endpoint, tier, user_id
