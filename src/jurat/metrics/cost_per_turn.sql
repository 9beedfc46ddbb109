/*---
title = "Cost per turn"
question = "What does a turn cost by the list of prices?"
kind = "mean"
better = "lower"
role = "guardrail"
unit = "turn"
cluster = "user"
scale = "USD"
slices = ["release", "endpoint", "tier"]
owner = "evaluation"
source = "jurat"

[needs.spans]
release = "string"
endpoint = "string"
tier = "string"
user_id = "string"
cost_usd = "double"

[[example]]
name = "a free turn costs 0, one without a price does not count; u2 has nothing that counts"
expect = [
  { release = "r1", endpoint = "/chat", tier = "free", cluster = "u1", n = 3, sum = 0.75, sum_sq = 0.3125 },
  { release = "r1", endpoint = "/agent", cluster = "u1", n = 1, sum = 12.0, sum_sq = 144.0 },
]
[example.tables]
spans = [
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", cost_usd = 0.25 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", cost_usd = 0.5 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1", cost_usd = 0.0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u1" },
  { release = "r1", endpoint = "/agent", user_id = "u1", cost_usd = 12.0 },
  { release = "r1", endpoint = "/chat", tier = "free", user_id = "u2" },
]
---*/
-- Errors count where they have a cost: whoever pays, pays for them too.
SELECT
  release,
  endpoint,
  tier,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  SUM(cost_usd) AS sum,
  SUM(cost_usd * cost_usd) AS sum_sq
FROM spans
WHERE cost_usd IS NOT NULL
GROUP BY release, endpoint, tier, user_id
