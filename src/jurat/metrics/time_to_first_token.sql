/*---
title = "Time to first token"
question = "How long does the slow tail of answered turns wait for the first token?"
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

[[example]]
name = "ties are counted; a first token after the end, before the start, of an error or of unknown time does not count"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", value = 80.5, n = 2 },
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", value = 900.0, n = 1 },
  { release = "r1", endpoint = "/chat", cluster = "u2", value = 0.0, n = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 500.0, ttft_ms = 80.5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", ttft_ms = 80.5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 900.0, ttft_ms = 900.0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 900.0, ttft_ms = 900.5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 900.0, ttft_ms = -1.0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "error", latency_ms = 5.0, ttft_ms = 3.0 },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok", latency_ms = 10.0, ttft_ms = 0.0 },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok", latency_ms = 10.0 },
  { release = "r1", endpoint = "/chat", user_id = "u3", status = "ok", latency_ms = 10.0 },
]
---*/
-- A first token that comes after the answer's end is a fault of a clock or an instrument, and no long wait.
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  ttft_ms AS value,
  CAST(COUNT(*) AS BIGINT) AS n
FROM spans
WHERE status = 'ok' AND ttft_ms >= 0 AND (latency_ms IS NULL OR ttft_ms <= latency_ms)
GROUP BY release, endpoint, tier, user_id, ttft_ms
