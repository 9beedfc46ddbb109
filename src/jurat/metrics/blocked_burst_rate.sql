/*---
title = "Bursts of blocks"
question = "What share of users is blocked more than three times within any 24 hours?"
kind = "proportion"
better = "lower"
role = "risk"
unit = "user of a release and tier"
cluster = "user"
slices = ["release", "tier"]
owner = "safety"
source = "jurat"
parameters = { most = 3, hours = 24 }

[needs.spans]
span_id = "string"
release = "string"
tier = "string"
user_id = "string"
blocked = "bool"
ts_us = "int64"

[[example]]
name = "u1 four within 24 hours across midnight UTC; u2 the fourth at 24 hours to the microsecond, too late; u3 three; u4 none"
expect = [
  { release = "r1", tier = "free", cluster = "u1", n = 1, k = 1 },
  { release = "r1", tier = "free", cluster = "u2", n = 1, k = 0 },
  { release = "r1", tier = "free", cluster = "u3", n = 1, k = 0 },
  { release = "r1", cluster = "u4", n = 1, k = 0 },
]
[example.tables]
spans = [
  { span_id = "a", release = "r1", tier = "free", user_id = "u1", blocked = true, ts_us = 1774742399999999 },
  { span_id = "b", release = "r1", tier = "free", user_id = "u1", blocked = true, ts_us = 1774742400000000 },
  { span_id = "c", release = "r1", tier = "free", user_id = "u1", blocked = false, ts_us = 1774742400000000 },
  { span_id = "d", release = "r1", tier = "free", user_id = "u1", blocked = true, ts_us = 1774742400000000 },
  { span_id = "e", release = "r1", tier = "free", user_id = "u1", blocked = true, ts_us = 1774828799999998 },
  { span_id = "f", release = "r1", tier = "free", user_id = "u2", blocked = true, ts_us = 1774742400000000 },
  { span_id = "g", release = "r1", tier = "free", user_id = "u2", blocked = true, ts_us = 1774742400000001 },
  { span_id = "h", release = "r1", tier = "free", user_id = "u2", blocked = true, ts_us = 1774742400000002 },
  { span_id = "i", release = "r1", tier = "free", user_id = "u2", blocked = true, ts_us = 1774828800000000 },
  { span_id = "j", release = "r1", tier = "free", user_id = "u3", blocked = true, ts_us = 1774742400000000 },
  { span_id = "k", release = "r1", tier = "free", user_id = "u3", blocked = true, ts_us = 1774742400000000 },
  { span_id = "l", release = "r1", tier = "free", user_id = "u3", blocked = true, ts_us = 1774742400000000 },
  { span_id = "m", release = "r1", tier = "free", user_id = "u3", blocked = true },
  { span_id = "n", release = "r1", user_id = "u4", ts_us = 1774742400000000 },
  { span_id = "o", release = "r1", tier = "free", blocked = true, ts_us = 1774742400000000 },
]

[[example]]
name = "a burst over two releases belongs to the one whose block made it a burst; a shorter window and fewer blocks"
expect = [
  { release = "r1", tier = "pro", cluster = "u1", n = 1, k = 0 },
  { release = "r2", tier = "pro", cluster = "u1", n = 1, k = 1 },
]
[example.parameters]
most = 1
hours = 1
[example.tables]
spans = [
  { span_id = "a", release = "r1", tier = "pro", user_id = "u1", blocked = true, ts_us = 1774742400000000 },
  { span_id = "b", release = "r2", tier = "pro", user_id = "u1", blocked = true, ts_us = 1774745999999999 },
  { span_id = "c", release = "r2", tier = "pro", user_id = "u1", blocked = true, ts_us = 1774745999999999 },
]
---*/
WITH blocks AS (
  -- A user's blocks in order; whoever has no name or no time cannot be followed.
  SELECT
    release,
    tier,
    user_id,
    ts_us,
    CAST(ROW_NUMBER() OVER (
      PARTITION BY user_id ORDER BY ts_us NULLS LAST, span_id NULLS LAST
    ) AS BIGINT) AS place
  FROM spans
  WHERE blocked AND user_id IS NOT NULL AND ts_us IS NOT NULL
),
bursts AS (
  -- More than $most blocks within a window that ends at a block: the one $most places before lies less than 24 hours back.
  SELECT DISTINCT b.release, b.tier, b.user_id
  FROM blocks AS b
  JOIN blocks AS a ON a.user_id = b.user_id AND a.place = b.place - CAST($most AS BIGINT)
  WHERE b.ts_us - a.ts_us < CAST($hours AS BIGINT) * 3600000000
),
flagged AS (
  SELECT release, tier, user_id, 0 AS hit FROM spans WHERE user_id IS NOT NULL
  UNION ALL
  SELECT release, tier, user_id, 1 AS hit FROM bursts
)
SELECT
  release,
  tier,
  user_id AS cluster,
  CAST(1 AS BIGINT) AS n,
  CAST(MAX(hit) AS BIGINT) AS k
FROM flagged
GROUP BY release, tier, user_id
