/*---
title = "Thumbs up"
question = "Of the turns that got a thumb, what share got one that points up?"
kind = "proportion"
better = "higher"
role = "value"
unit = "turn with a thumb"
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

[needs.feedback]
feedback_id = "string"
span_id = "string"
kind = "string"
value = "double"
ts = "timestamp"

[[example]]
name = "a change of mind counts as it ended, at one time the greater id; 0 and -1 point down; ratings, thumbs of no value or turn do not count"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 3, k = 2 },
  { release = "r1", endpoint = "/chat", cluster = "u2", n = 1, k = 0 },
]
[example.tables]
spans = [
  { span_id = "s1", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1" },
  { span_id = "s2", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1" },
  { span_id = "s3", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1" },
  { span_id = "s4", release = "r1", endpoint = "/chat", user_id = "u2" },
  { span_id = "s5", release = "r1", endpoint = "/chat", user_id = "u2" },
  { span_id = "s6", release = "r1", endpoint = "/chat", user_id = "u3" },
  { release = "r1", endpoint = "/chat", user_id = "u3" },
]
feedback = [
  { feedback_id = "f1", span_id = "s1", kind = "thumb", value = -1.0, ts = 2026-03-28T23:59:59.999999Z },
  { feedback_id = "f0", span_id = "s1", kind = "thumb", value = 1.0, ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f2", span_id = "s2", kind = "thumb", value = 1.0, ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f3", span_id = "s2", kind = "thumb", value = 0.0, ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f4", span_id = "s3", kind = "thumb", value = 1.0, ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f5", span_id = "s3", kind = "thumb", value = -1.0 },
  { feedback_id = "f6", span_id = "s4", kind = "thumb", value = 0.0, ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f7", span_id = "s5", kind = "rating", value = 5.0, ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f8", span_id = "s6", kind = "thumb", ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f9", span_id = "gone", kind = "thumb", value = 1.0, ts = 2026-03-29T00:00:00Z },
  { feedback_id = "f10", kind = "thumb", value = 1.0, ts = 2026-03-29T00:00:00Z },
]
---*/
-- The share of those who pressed, who are not all: read it beside the feedback rate.
WITH ranked AS (
  -- A thumb may be turned round: the latest counts; of two at one time, the one with the greater id.
  SELECT
    span_id,
    value,
    ROW_NUMBER() OVER (PARTITION BY span_id ORDER BY ts DESC NULLS LAST, feedback_id DESC NULLS LAST) AS newest
  FROM feedback
  WHERE kind = 'thumb' AND span_id IS NOT NULL AND value IS NOT NULL
)
SELECT
  s.release,
  s.endpoint,
  s.tier,
  s.user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE r.value > 0) AS BIGINT) AS k
FROM ranked AS r
JOIN spans AS s ON s.span_id = r.span_id
WHERE r.newest = 1
GROUP BY s.release, s.endpoint, s.tier, s.user_id
