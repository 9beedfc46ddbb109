/*---
title = "Error rate of one type"
question = "What share of turns ended in an error of one type?"
kind = "proportion"
better = "lower"
role = "guardrail"
unit = "turn"
cluster = "user"
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"
parameters = { error_type = "timeout" }

[needs.spans]
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
status = "string"
error_type = "string"

[[example]]
name = "errors of another or of no type count among the turns; a type on a turn that went well says nothing; unknown status does not count"
expect = [
  { release = "r1", endpoint = "/chat", tier = "pro", cluster = "u1", n = 5, k = 1 },
  { release = "r1", endpoint = "/chat", cluster = "u2", n = 1, k = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "ok" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "ok", error_type = "timeout" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "error", error_type = "timeout" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "error", error_type = "upstream" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "error" },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "error", error_type = "timeout" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u3", error_type = "timeout" },
]

[[example]]
name = "another type"
expect = [{ release = "r1", endpoint = "/chat", tier = "pro", cluster = "u1", n = 2, k = 1 }]
[example.parameters]
error_type = "upstream"
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "error", error_type = "timeout" },
  { release = "r1", endpoint = "/chat", tier = "pro", user_id = "u1", status = "error", error_type = "upstream" },
]
---*/
-- The type is a parameter and no slice: cut by type, turns that went well would belong to no cut, and every share would be 1.
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE status = 'error' AND error_type = $error_type) AS BIGINT) AS k
FROM spans
WHERE status IS NOT NULL
GROUP BY release, endpoint, tier, user_id
