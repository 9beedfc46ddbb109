/*---
title = "Latency"
question = "How long does the slow tail of answered turns take?"
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

[[example]]
name = "ties are counted, not dropped; errors and unknown times do not count; u3 has nothing that counts"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", value = 120.5, n = 2 },
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", value = 900.0, n = 1 },
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u2", value = 120.5, n = 1 },
  { release = "r1", endpoint = "/chat", cluster = "u2", value = 0.0, n = 1 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 120.5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 120.5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", latency_ms = 900.0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "error", latency_ms = 3.0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u2", status = "ok", latency_ms = 120.5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u2", status = "ok" },
  { release = "r1", endpoint = "/chat", user_id = "u2", status = "ok", latency_ms = 0.0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u3", status = "error", latency_ms = 1.0 },
]
---*/
-- Histogram rows: the quantile is taken from them, so that one definition serves p50, p95 and p99.
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  latency_ms AS value,
  CAST(COUNT(*) AS BIGINT) AS n
FROM spans
WHERE status = 'ok' AND latency_ms IS NOT NULL
GROUP BY release, endpoint, tier, user_id, latency_ms
