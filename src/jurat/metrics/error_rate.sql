/*---
title = "Error rate"
question = "What share of turns ended in an error?"
kind = "proportion"
better = "lower"
role = "guardrail"
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

[[example]]
name = "a turn of unknown status does not count, so u3 has no row; one turn, errors only, an unknown tier"
expect = [
  { release = "r1", endpoint = "/chat", tier = "pro", cluster = "u1", n = 3, k = 1 },
  { release = "r1", endpoint = "/chat", tier = "pro", cluster = "u2", n = 1, k = 1 },
  { release = "r1", endpoint = "/chat", cluster = "u2", n = 1, k = 0 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "ok" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "ok" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "error" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u2", status = "error" },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u3" },
]
---*/
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE status = 'error') AS BIGINT) AS k
FROM spans
WHERE status IS NOT NULL
GROUP BY release, endpoint, tier, user_id
