/*---
title = "Regenerate rate"
question = "Of the answered turns, for what share did somebody ask for another answer?"
kind = "proportion"
better = "lower"
role = "value"
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
name = "twice on one turn is once; a copy is none; an error that was tried again, a turn that is gone and none do not count"
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
  { span_id = "s1", kind = "regenerate" },
  { span_id = "s1", kind = "regenerate" },
  { span_id = "s3", kind = "regenerate" },
  { span_id = "gone", kind = "regenerate" },
  { kind = "regenerate" },
  { span_id = "s2", kind = "copy" },
  { span_id = "s4" },
]
---*/
WITH marked AS (
  -- A turn that was regenerated again and again is one turn that did not satisfy.
  SELECT DISTINCT span_id
  FROM feedback
  WHERE kind = 'regenerate' AND span_id IS NOT NULL
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
