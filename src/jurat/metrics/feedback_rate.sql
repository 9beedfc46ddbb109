/*---
title = "Feedback rate"
question = "Of the answered turns, on what share did somebody say what they think?"
kind = "proportion"
better = "neither"
role = "guardrail"
unit = "turn"
cluster = "user"
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"

[needs.spans]
span_id = "string"
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
status = "string"

[needs.feedback]
span_id = "string"
kind = "string"

[[example]]
name = "two thumbs on one turn are one; a copy is no opinion; feedback on an error, on a turn that is gone and on none does not count"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 3, k = 1 },
  { release = "r1", endpoint = "/chat", cluster = "u2", n = 1, k = 0 },
]
[example.tables]
spans = [
  { span_id = "s1", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok" },
  { span_id = "s2", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok" },
  { span_id = "s3", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "error" },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok" },
  { span_id = "s4", release = "r1", endpoint = "/chat", user_id = "u2", status = "ok" },
]
feedback = [
  { span_id = "s1", kind = "thumb" },
  { span_id = "s1", kind = "thumb" },
  { span_id = "s3", kind = "thumb" },
  { span_id = "gone", kind = "thumb" },
  { kind = "thumb" },
  { span_id = "s2", kind = "copy" },
  { span_id = "s4" },
]
---*/
WITH marked AS (
  -- What people say, not what they do: copies and regenerations are no opinion. Twice on one turn is once.
  SELECT DISTINCT span_id
  FROM feedback
  WHERE kind IN ('thumb', 'rating', 'edit', 'report') AND span_id IS NOT NULL
)
SELECT
  s.release,
  s.endpoint,
  s.tier,
  s.user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(m.span_id) AS BIGINT) AS k
FROM spans AS s
LEFT JOIN marked AS m ON m.span_id = s.span_id
WHERE s.status = 'ok'
GROUP BY s.release, s.endpoint, s.tier, s.user_id
