/*---
title = "Weekly return"
question = "Of the users of a release in a week, what share comes back the week after?"
kind = "proportion"
better = "higher"
role = "value"
unit = "user of a release and week"
cluster = "user"
slices = ["release", "week"]
owner = "evaluation"
source = "jurat"

[needs.spans]
release = "string"
user_id = "string"
ts_s = "int64"
day = "string"

[[example]]
name = "Sunday's last second and Monday's first are two weeks; u2 skips one; u3 comes back to another release; the last week waits"
expect = [
  { release = "r1", week = "2026-03-28", cluster = "u1", n = 1, k = 1 },
  { release = "r1", week = "2026-03-28", cluster = "u2", n = 1, k = 0 },
  { release = "r1", week = "2026-03-28", cluster = "u3", n = 1, k = 1 },
  { week = "2026-03-28", cluster = "u4", n = 1, k = 0 },
  { release = "r1", week = "2026-03-30", cluster = "u1", n = 1, k = 0 },
  { release = "r2", week = "2026-03-30", cluster = "u3", n = 1, k = 0 },
]
[example.tables]
spans = [
  { release = "r1", user_id = "u1", ts_s = 1774828799, day = "2026-03-29" },
  { release = "r1", user_id = "u1", ts_s = 1774828800, day = "2026-03-30" },
  { release = "r1", user_id = "u2", ts_s = 1774656000, day = "2026-03-28" },
  { release = "r1", user_id = "u2", ts_s = 1774656001, day = "2026-03-28" },
  { release = "r1", user_id = "u2", ts_s = 1776038399, day = "2026-04-12" },
  { release = "r1", user_id = "u3", ts_s = 1774656000, day = "2026-03-28" },
  { release = "r2", user_id = "u3", ts_s = 1774915200, day = "2026-03-31" },
  { user_id = "u4", ts_s = 1774656000, day = "2026-03-28" },
  { release = "r1", ts_s = 1774656000, day = "2026-03-28" },
  { release = "r1", user_id = "u5" },
]

[[example]]
name = "the week after ends on Sunday, and the data end on Saturday: nobody can be counted yet"
expect = []
[example.tables]
spans = [
  { release = "r1", user_id = "u1", ts_s = 1774656000, day = "2026-03-28" },
  { release = "r1", user_id = "u1", ts_s = 1775347199, day = "2026-04-04" },
]
---*/
WITH seen AS (
  -- Weeks run from Monday to Sunday, UTC; the first second of 1970 was on a Thursday, three days into one.
  SELECT DISTINCT
    release,
    user_id,
    CAST(FLOOR(CAST(ts_s + 259200 AS DOUBLE) / 604800) AS BIGINT) AS week
  FROM spans
  WHERE user_id IS NOT NULL AND ts_s IS NOT NULL
),
weeks AS (
  -- A week is called by the first day of it that had traffic.
  SELECT CAST(FLOOR(CAST(ts_s + 259200 AS DOUBLE) / 604800) AS BIGINT) AS week, MIN(day) AS first_day
  FROM spans
  WHERE ts_s IS NOT NULL
  GROUP BY CAST(FLOOR(CAST(ts_s + 259200 AS DOUBLE) / 604800) AS BIGINT)
),
complete AS (
  -- Weeks that the data have seen to their last day. With half a week after it, a week would look as if people had left.
  SELECT CAST(FLOOR(CAST(MAX(ts_s) + 86400 + 259200 AS DOUBLE) / 604800) AS BIGINT) - 1 AS last_week
  FROM spans
  WHERE ts_s IS NOT NULL
),
visits AS (
  -- Coming back is coming back to any release: whoever was moved to the next one has not left.
  SELECT DISTINCT user_id, week FROM seen
)
SELECT
  s.release,
  w.first_day AS week,
  s.user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(v.user_id) AS BIGINT) AS k
FROM seen AS s
JOIN weeks AS w ON w.week = s.week
CROSS JOIN complete AS c
LEFT JOIN visits AS v ON v.user_id = s.user_id AND v.week = s.week + 1
WHERE s.week + 1 <= c.last_week
GROUP BY s.release, w.first_day, s.user_id
