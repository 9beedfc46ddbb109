/*---
title = "Requests per day"
question = "How many requests come in on a day?"
kind = "rate"
better = "neither"
role = "guardrail"
unit = "day"
cluster = "none"
scale = "requests"
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"

[needs.spans]
release = "string"
endpoint = "string"
tier = "string"
ts = "timestamp"
day = "string"

[[example]]
name = "the last microsecond of a day and the first of the next, UTC"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", period = "2026-03-28", n = 2 },
  { release = "r1", endpoint = "/chat", tier = "free", period = "2026-03-29", n = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", ts = 2026-03-28T00:00:00Z, day = "2026-03-28" },
  { release = "r1", endpoint = "/chat", tier = "free", ts = 2026-03-28T23:59:59.999999Z, day = "2026-03-28" },
  { release = "r1", endpoint = "/chat", tier = "free", ts = 2026-03-29T00:00:00Z, day = "2026-03-29" },
]
---*/
-- The day is stored with the fact, in UTC: no engine has to agree with another on what a day is.
SELECT
  release,
  endpoint,
  tier,
  day AS period,
  CAST(COUNT(*) AS BIGINT) AS n
FROM spans
WHERE day IS NOT NULL
GROUP BY release, endpoint, tier, day
