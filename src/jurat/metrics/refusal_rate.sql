/*---
title = "Refusal rate"
question = "Of the turns that were answered without an error, what share was refused?"
kind = "proportion"
better = "lower"
role = "risk"
unit = "turn"
cluster = "user"
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"

[needs.spans]
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
status = "string"
refused = "bool"

[[example]]
name = "errors and unlabelled turns do not count; a user with one turn, and one who was never refused"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 2, k = 1 },
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u2", n = 1, k = 0 },
  { release = "r2", endpoint = "/chat", cluster = "u3", n = 1, k = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", refused = true },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", refused = false },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "error", refused = true },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok" },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u2", status = "ok", refused = false },
  { release = "r2", endpoint = "/chat", user_id = "u3", status = "ok", refused = true },
  { release = "r2", endpoint = "/chat", user_id = "u4", status = "error" },
]
---*/
-- A turn without a label says nothing about refusals: it is neither refused nor answered.
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE refused) AS BIGINT) AS k
FROM spans
WHERE status = 'ok' AND refused IS NOT NULL
GROUP BY release, endpoint, tier, user_id
