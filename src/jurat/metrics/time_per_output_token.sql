/*---
title = "Time per output token"
question = "Once an answer has begun, how long does the slow tail of turns take for each further token?"
kind = "quantile"
better = "lower"
role = "guardrail"
unit = "turn"
cluster = "user"
scale = "ms"
quantiles = [0.95, 0.5, 0.99]
parameters = { q = 0.95 }
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"

[needs.spans]
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
status = "string"
latency_ms = "double"
ttft_ms = "double"
tokens_out = "int64"

[[example]]
name = "100 ms for four tokens after the first, twice; one token has no further one; errors and impossible times do not count"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", value = 25.0, n = 2 },
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", value = 0.0, n = 1 },
  { release = "r1", endpoint = "/chat", cluster = "u2", value = 90.0, n = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 150.0, ttft_ms = 50.0, tokens_out = 5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 300.0, ttft_ms = 200.0, tokens_out = 5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 50.0, ttft_ms = 50.0, tokens_out = 9 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 40.0, ttft_ms = 50.0, tokens_out = 9 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "error", latency_ms = 90.0, ttft_ms = 50.0, tokens_out = 9 },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok", latency_ms = 100.0, ttft_ms = 10.0, tokens_out = 2 },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok", latency_ms = 100.0, ttft_ms = 10.0, tokens_out = 1 },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok", latency_ms = 100.0, ttft_ms = 10.0, tokens_out = 0 },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok", latency_ms = 100.0, ttft_ms = 10.0 },
  { release = "r1", endpoint = "/chat", user_id = "u3", status = "ok", latency_ms = 100.0, tokens_out = 7 },
]
---*/
WITH timed AS (
  -- The first token is waited for, not written at this pace: it counts in neither time nor tokens.
  SELECT
    release,
    endpoint,
    tier,
    user_id,
    (latency_ms - ttft_ms) / NULLIF(CAST(tokens_out - 1 AS DOUBLE), 0) AS pace
  FROM spans
  WHERE status = 'ok' AND tokens_out >= 2 AND ttft_ms >= 0 AND ttft_ms <= latency_ms
)
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  pace AS value,
  CAST(COUNT(*) AS BIGINT) AS n
FROM timed
GROUP BY release, endpoint, tier, user_id, pace
