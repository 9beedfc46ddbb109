/*---
title = "Escalation"
question = "What share of conversations goes from low to high risk within three turns?"
kind = "proportion"
better = "lower"
role = "risk"
unit = "conversation"
cluster = "user"
slices = ["release", "endpoint", "tier"]
owner = "safety"
source = "jurat"
parameters = { low = 1, high = 3, turns = 3 }

[needs.spans]
span_id = "string"
conversation_id = "string"
turn = "int32"
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
risk_tier = "int32"
ts_us = "int64"

[[example]]
name = "c1 low, unknown, middle, high: three turns; c2 one turn too late; c3 falls; c4 high from the start; c5 low once more; c6 no tier"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 3, k = 1 },
  { release = "r1", endpoint = "/chat", cluster = "u2", n = 1, k = 0 },
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u3", n = 1, k = 1 },
]
[example.tables]
spans = [
  { span_id = "a", conversation_id = "c1", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 1, ts_us = 1774742399999999 },
  { span_id = "b", conversation_id = "c1", release = "r2", endpoint = "/chat", tier = "free", user_id = "u1", ts_us = 1774742400000000 },
  { span_id = "c", conversation_id = "c1", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 2, ts_us = 1774742400000001 },
  { span_id = "d", conversation_id = "c1", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 3, ts_us = 1774742400000002 },
  { span_id = "a", conversation_id = "c2", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 0, ts_us = 1 },
  { span_id = "b", conversation_id = "c2", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 2, ts_us = 2 },
  { span_id = "c", conversation_id = "c2", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 2, ts_us = 3 },
  { span_id = "d", conversation_id = "c2", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 2, ts_us = 4 },
  { span_id = "e", conversation_id = "c2", release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 3, ts_us = 5 },
  { span_id = "b", conversation_id = "c3", turn = 2, release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 0, ts_us = 1 },
  { span_id = "z", conversation_id = "c3", turn = 1, release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", risk_tier = 3, ts_us = 1 },
  { span_id = "a", conversation_id = "c4", release = "r1", endpoint = "/chat", user_id = "u2", risk_tier = 3, ts_us = 1 },
  { span_id = "a", conversation_id = "c5", release = "r1", endpoint = "/chat", tier = "free", user_id = "u3", risk_tier = 0, ts_us = 1 },
  { span_id = "b", conversation_id = "c5", release = "r1", endpoint = "/chat", tier = "free", user_id = "u3", risk_tier = 2, ts_us = 2 },
  { span_id = "c", conversation_id = "c5", release = "r1", endpoint = "/chat", tier = "free", user_id = "u3", risk_tier = 1, ts_us = 3 },
  { span_id = "d", conversation_id = "c5", release = "r1", endpoint = "/chat", tier = "free", user_id = "u3", risk_tier = 3, ts_us = 4 },
  { span_id = "e", conversation_id = "c5", release = "r1", endpoint = "/chat", tier = "free", user_id = "u3", risk_tier = 3, ts_us = 5 },
  { span_id = "a", conversation_id = "c6", release = "r1", endpoint = "/chat", tier = "free", user_id = "u4", ts_us = 1 },
  { span_id = "a", release = "r1", endpoint = "/chat", tier = "free", user_id = "u4", risk_tier = 0, ts_us = 1 },
]
---*/
WITH placed AS (
  -- Turns of a conversation in order of time; a turn of unknown risk still takes a turn.
  SELECT
    conversation_id,
    release,
    endpoint,
    tier,
    user_id,
    risk_tier,
    CAST(ROW_NUMBER() OVER (
      PARTITION BY conversation_id ORDER BY ts_us NULLS LAST, turn NULLS LAST, span_id NULLS LAST
    ) AS BIGINT) AS place
  FROM spans
  WHERE conversation_id IS NOT NULL
),
traced AS (
  -- Of all turns of low risk so far the last one counts: if it is too far back, so are the others.
  SELECT
    conversation_id,
    release,
    endpoint,
    tier,
    user_id,
    risk_tier,
    place,
    COALESCE(
      MAX(CASE WHEN risk_tier <= $low THEN place END) OVER (
        PARTITION BY conversation_id ORDER BY place NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      ),
      0
    ) AS last_low
  FROM placed
),
conversations AS (
  -- A conversation belongs to the release, endpoint, tier and user of its first turn.
  SELECT
    conversation_id,
    MAX(CASE WHEN place = 1 THEN release END) AS release,
    MAX(CASE WHEN place = 1 THEN endpoint END) AS endpoint,
    MAX(CASE WHEN place = 1 THEN tier END) AS tier,
    MAX(CASE WHEN place = 1 THEN user_id END) AS user_id,
    MAX(CASE WHEN risk_tier >= $high AND last_low > 0 AND place - last_low <= $turns THEN 1 ELSE 0 END) AS escalated
  FROM traced
  GROUP BY conversation_id
  HAVING COUNT(risk_tier) > 0
)
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE escalated = 1) AS BIGINT) AS k
FROM conversations
GROUP BY release, endpoint, tier, user_id
