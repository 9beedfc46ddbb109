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
name = "the last microsecond of a day and the first of the next, UTC; a day without requests; an unknown tier"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", period = "2026-03-28", n = 2 },
  { release = "r1", endpoint = "/chat", tier = "free", period = "2026-03-29", n = 1 },
  { release = "r1", endpoint = "/chat", tier = "free", period = "2026-03-30", n = 0 },
  { release = "r1", endpoint = "/chat", tier = "free", period = "2026-03-31", n = 1 },
  { release = "r2", endpoint = "/chat", period = "2026-03-30", n = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", ts = 2026-03-28T00:00:00Z, day = "2026-03-28" },
  { release = "r1", endpoint = "/chat", tier = "free", ts = 2026-03-28T23:59:59.999999Z, day = "2026-03-28" },
  { release = "r1", endpoint = "/chat", tier = "free", ts = 2026-03-29T00:00:00Z, day = "2026-03-29" },
  { release = "r1", endpoint = "/chat", tier = "free", ts = 2026-03-31T12:00:00Z, day = "2026-03-31" },
  { release = "r1", endpoint = "/chat", tier = "free" },
  { release = "r2", endpoint = "/chat", ts = 2026-03-30T12:00:00Z, day = "2026-03-30" },
]
---*/
-- The day is stored with the fact, in UTC: no engine has to agree with another on what a day is.
WITH daily AS (
  SELECT release, endpoint, tier, day, COUNT(*) AS requests
  FROM spans
  WHERE day IS NOT NULL
  GROUP BY release, endpoint, tier, day
),
cuts AS (
  -- A release is live from the day of its first request to that of its last.
  SELECT DISTINCT
    release,
    endpoint,
    tier,
    MIN(day) OVER (PARTITION BY release) AS first_day,
    MAX(day) OVER (PARTITION BY release) AS last_day
  FROM daily
),
days AS (
  -- A day on which nobody asked anything at all is not in the table, and cannot be counted.
  SELECT DISTINCT day FROM daily
),
filled AS (
  -- A live day without a request is a day with 0 requests: left out, it would raise the mean.
  SELECT release, endpoint, tier, day, requests FROM daily
  UNION ALL
  SELECT c.release, c.endpoint, c.tier, d.day, 0 AS requests
  FROM cuts AS c
  CROSS JOIN days AS d
  WHERE d.day BETWEEN c.first_day AND c.last_day
)
SELECT
  release,
  endpoint,
  tier,
  day AS period,
  CAST(SUM(requests) AS BIGINT) AS n
FROM filled
GROUP BY release, endpoint, tier, day
