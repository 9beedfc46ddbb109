/*---
title = "Turns per session"
question = "How many turns does a session have, where half an hour of silence ends one?"
kind = "ratio"
better = "neither"
role = "value"
unit = "session"
cluster = "user"
scale = "turns"
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"
parameters = { gap_minutes = 30 }

[needs.spans]
span_id = "string"
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
ts_us = "int64"

[[example]]
name = "a pause of 30 minutes goes on, one microsecond more ends it, midnight does not; equal times; a session belongs to where it began"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 2, sum_x = 2.0, sum_y = 4.0, sum_xx = 2.0, sum_yy = 10.0, sum_xy = 4.0 },
  { release = "r1", endpoint = "/chat", cluster = "u2", n = 1, sum_x = 1.0, sum_y = 2.0, sum_xx = 1.0, sum_yy = 4.0, sum_xy = 2.0 },
]
[example.tables]
spans = [
  { span_id = "a", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", ts_us = 1774741200000000 },
  { span_id = "b", release = "r2", endpoint = "/agent", tier = "pro", user_id = "u1", ts_us = 1774743000000000 },
  { span_id = "c", release = "r2", endpoint = "/agent", tier = "pro", user_id = "u1", ts_us = 1774743000000000 },
  { span_id = "d", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", ts_us = 1774744800000001 },
  { span_id = "e", release = "r1", endpoint = "/chat", user_id = "u2", ts_us = 1774742399999999 },
  { span_id = "f", release = "r1", endpoint = "/chat", user_id = "u2", ts_us = 1774742400000000 },
  { span_id = "g", release = "r1", endpoint = "/chat", user_id = "u2" },
  { span_id = "h", release = "r1", endpoint = "/chat", ts_us = 1774742400000000 },
]
---*/
WITH ordered AS (
  SELECT
    release,
    endpoint,
    tier,
    user_id,
    span_id,
    ts_us,
    LAG(ts_us) OVER (PARTITION BY user_id ORDER BY ts_us NULLS LAST, span_id NULLS LAST) AS before_us
  FROM spans
  WHERE user_id IS NOT NULL AND ts_us IS NOT NULL
),
opened AS (
  -- A user's first turn opens a session, and so does one after a pause that is longer than the gap.
  SELECT
    release,
    endpoint,
    tier,
    user_id,
    span_id,
    ts_us,
    CASE WHEN before_us IS NULL OR ts_us - before_us > CAST($gap_minutes AS BIGINT) * 60000000 THEN 1 ELSE 0 END AS opens
  FROM ordered
),
numbered AS (
  SELECT
    release,
    endpoint,
    tier,
    user_id,
    opens,
    CAST(SUM(opens) OVER (
      PARTITION BY user_id ORDER BY ts_us NULLS LAST, span_id NULLS LAST
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS BIGINT) AS session
  FROM opened
),
sessions AS (
  -- A session belongs to the release, endpoint and tier of the turn that opened it.
  SELECT
    user_id,
    session,
    MAX(CASE WHEN opens = 1 THEN release END) AS release,
    MAX(CASE WHEN opens = 1 THEN endpoint END) AS endpoint,
    MAX(CASE WHEN opens = 1 THEN tier END) AS tier,
    CAST(COUNT(*) AS DOUBLE) AS turns
  FROM numbered
  GROUP BY user_id, session
)
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) AS DOUBLE) AS sum_x,
  SUM(turns) AS sum_y,
  CAST(COUNT(*) AS DOUBLE) AS sum_xx,
  SUM(turns * turns) AS sum_yy,
  SUM(turns) AS sum_xy
FROM sessions
GROUP BY release, endpoint, tier, user_id
