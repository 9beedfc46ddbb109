/*---
title = "Top users who trip the filter"
question = "Of a release's top 5 % of users by tokens, what share was blocked at least once?"
kind = "proportion"
better = "lower"
role = "risk"
unit = "top user of a release"
cluster = "user"
slices = ["release"]
owner = "safety"
source = "jurat"
parameters = { percent = 5, test_accounts = "", test_org_prefix = "" }  # accounts as "id1,id2"

[needs.spans]
release = "string"
user_id = "string"
org_id = "string"
tokens_in = "int64"
tokens_out = "int64"
blocked = "bool"

[[example]]
name = "of 3 users one is the top 5 %; a blocked turn without tokens counts; the blocked user below the cut does not"
expect = [
  { release = "r1", cluster = "u1", n = 1, k = 1 },
  { release = "r2", cluster = "u1", n = 1, k = 0 },
]
[example.tables]
spans = [
  { release = "r1", user_id = "u1", tokens_in = 10, tokens_out = 20, blocked = false },
  { release = "r1", user_id = "u1", blocked = true },
  { release = "r1", user_id = "u2", tokens_in = 29, blocked = true },
  { release = "r1", user_id = "u3", blocked = true },
  { release = "r1", user_id = "u4", tokens_out = 0 },
  { release = "r1", tokens_in = 1000, blocked = true },
  { release = "r2", user_id = "u1", tokens_in = 1 },
]

[[example]]
name = "the upper half of 3 users are two, a tie goes to the smaller name; test accounts neither rank nor count"
expect = [
  { release = "r1", cluster = "u1", n = 1, k = 0 },
  { release = "r1", cluster = "u2", n = 1, k = 1 },
]
[example.parameters]
percent = 50
test_accounts = "bot"
test_org_prefix = "test-"
[example.tables]
spans = [
  { release = "r1", user_id = "u1", tokens_out = 40, blocked = false },
  { release = "r1", user_id = "u2", org_id = "acme", tokens_out = 40, blocked = true },
  { release = "r1", user_id = "u3", tokens_out = 40, blocked = true },
  { release = "r1", user_id = "bot", tokens_out = 900, blocked = true },
  { release = "r1", user_id = "u9", org_id = "test-9", tokens_out = 900, blocked = true },
]
---*/
WITH users AS (
  -- Without a known number of tokens a user has no place in the order.
  SELECT
    release,
    user_id,
    CAST(SUM(COALESCE(tokens_in, 0) + COALESCE(tokens_out, 0)) AS DOUBLE) AS tokens,
    MAX(CASE WHEN blocked THEN 1 ELSE 0 END) AS tripped
  FROM spans
  WHERE
    user_id IS NOT NULL
    -- A name is on the list where taking it off the list changes the list.
    AND (
      $test_accounts = ''
      OR REPLACE(CONCAT(',', $test_accounts, ','), CONCAT(',', user_id, ','), '') = CONCAT(',', $test_accounts, ',')
    )
    AND ($test_org_prefix = '' OR org_id IS NULL OR NOT STARTS_WITH(org_id, $test_org_prefix))
  GROUP BY release, user_id
  HAVING COUNT(tokens_in) + COUNT(tokens_out) > 0
),
ranked AS (
  SELECT
    release,
    user_id,
    tripped,
    CAST(ROW_NUMBER() OVER (PARTITION BY release ORDER BY tokens DESC NULLS LAST, user_id NULLS LAST) AS BIGINT) AS place,
    CAST(COUNT(*) OVER (PARTITION BY release) AS BIGINT) AS users
  FROM users
)
-- The top percent, rounded up to whole users: one at least. The interval takes who is on top as given.
SELECT
  release,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  CAST(COUNT(*) FILTER (WHERE tripped = 1) AS BIGINT) AS k
FROM ranked
WHERE (place - 1) * 100 < users * $percent
GROUP BY release, user_id
