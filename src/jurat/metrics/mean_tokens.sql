/*---
title = "Mean response tokens"
question = "How many tokens does an answered turn have?"
kind = "mean"
better = "neither"
role = "guardrail"
unit = "turn"
cluster = "user"
scale = "tokens"
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"

[needs.spans]
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
status = "string"
tokens_out = "int64"

[[example]]
name = "an empty answer counts as 0 tokens, an unknown one does not count; u2 has nothing that counts"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 3, sum = 300.0, sum_sq = 50000.0 },
  { release = "r1", endpoint = "/agent", tier = "free", cluster = "u1", n = 1, sum = 7.0, sum_sq = 49.0 },
  { release = "r2", endpoint = "/chat", cluster = "u3", n = 2, sum = 6000000000.0, sum_sq = 18000000000000000000.0 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", tokens_out = 100 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", tokens_out = 200 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok", tokens_out = 0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", status = "ok" },
  { release = "r1", endpoint = "/agent", tier = "free", user_id = "u1", status = "ok", tokens_out = 7 },
  { release = "r1", endpoint = "/agent", tier = "free", user_id = "u1", status = "error", tokens_out = 9 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u2", status = "ok" },
  { release = "r2", endpoint = "/chat", user_id = "u3", status = "ok", tokens_out = 3000000000 },
  { release = "r2", endpoint = "/chat", user_id = "u3", status = "ok", tokens_out = 3000000000 },
]
---*/
-- Squares in DOUBLE: the square of a long answer's length times a long table overflows no integer there.
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(SUM(tokens_out) AS DOUBLE) AS sum,
  SUM(CAST(tokens_out AS DOUBLE) * CAST(tokens_out AS DOUBLE)) AS sum_sq
FROM spans
WHERE status = 'ok' AND tokens_out IS NOT NULL
GROUP BY release, endpoint, tier, user_id
