/*---
title = "Requests in seven days"
question = "How many requests does an organisation make in seven days, on any day?"
kind = "mean"
better = "neither"
role = "guardrail"
unit = "organisation and day"
cluster = "organisation"
scale = "requests"
slices = ["day"]
owner = "evaluation"
source = "jurat"

[needs.spans]
org_id = "string"
ts_s = "int64"
day = "string"

[[example]]
name = "the seventh day is the first with seven behind it; the last second of a day; days without a request; o2 counts from its first"
expect = [
  { day = "2026-03-07", cluster = "o1", n = 1, sum = 3.0, sum_sq = 9.0 },
  { day = "2026-03-08", cluster = "o1", n = 1, sum = 1.0, sum_sq = 1.0 },
  { day = "2026-03-08", cluster = "o2", n = 1, sum = 2.0, sum_sq = 4.0 },
  { day = "2026-03-20", cluster = "o1", n = 1, sum = 0.0, sum_sq = 0.0 },
  { day = "2026-03-20", cluster = "o2", n = 1, sum = 1.0, sum_sq = 1.0 },
]
[example.tables]
spans = [
  { org_id = "o1", ts_s = 1772323200, day = "2026-03-01" },
  { org_id = "o1", ts_s = 1772409599, day = "2026-03-01" },
  { org_id = "o1", ts_s = 1772927999, day = "2026-03-07" },
  { org_id = "o2", ts_s = 1772928000, day = "2026-03-08" },
  { org_id = "o2", ts_s = 1773014399, day = "2026-03-08" },
  { org_id = "o2", ts_s = 1773964800, day = "2026-03-20" },
  { ts_s = 1772323200, day = "2026-03-01" },
  { org_id = "o3" },
]
---*/
WITH daily AS (
  SELECT
    org_id,
    day,
    CAST(FLOOR(CAST(ts_s AS DOUBLE) / 86400) AS BIGINT) AS number,
    CAST(COUNT(*) AS DOUBLE) AS requests
  FROM spans
  WHERE org_id IS NOT NULL AND ts_s IS NOT NULL AND day IS NOT NULL
  GROUP BY org_id, day, CAST(FLOOR(CAST(ts_s AS DOUBLE) / 86400) AS BIGINT)
),
days AS (
  -- A day on which nobody asked anything at all is not in the table, and cannot be counted.
  SELECT DISTINCT day, number, MIN(number) OVER () AS first_number FROM daily
),
organisations AS (
  SELECT org_id, MIN(number) AS joined FROM daily GROUP BY org_id
),
filled AS (
  -- From its first request on, a day without one is a day with 0: whoever falls silent is not forgotten.
  SELECT org_id, day, number, requests FROM daily
  UNION ALL
  SELECT o.org_id, d.day, d.number, CAST(0 AS DOUBLE) AS requests
  FROM organisations AS o
  CROSS JOIN days AS d
  WHERE d.number >= o.joined
),
totals AS (
  SELECT org_id, day, number, SUM(requests) AS requests FROM filled GROUP BY org_id, day, number
),
rolling AS (
  SELECT
    org_id,
    day,
    number,
    SUM(requests) OVER (
      PARTITION BY org_id ORDER BY number NULLS LAST RANGE BETWEEN 6 PRECEDING AND CURRENT ROW
    ) AS requests
  FROM totals
)
SELECT
  r.day,
  r.org_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  SUM(r.requests) AS sum,
  SUM(r.requests * r.requests) AS sum_sq
FROM rolling AS r
JOIN days AS d ON d.day = r.day AND d.number = r.number
-- Before the seventh day, a window would be shorter than it says.
WHERE d.number >= d.first_number + 6
GROUP BY r.day, r.org_id
