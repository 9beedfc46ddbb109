/*---
title = "Tokens of the top users"
question = "What share of a release's tokens goes to its top 1 % of users by tokens, test accounts left out?"
kind = "ratio"
better = "neither"
role = "guardrail"
unit = "user of a release"
cluster = "user"
slices = ["release"]
owner = "evaluation"
source = "jurat; variance of a share of the largest: Beach and Davidson (1983), Review of Economic Studies 50"
parameters = { percent = 1, test_accounts = "", test_org_prefix = "" }  # accounts as "id1,id2"

[needs.spans]
release = "string"
user_id = "string"
org_id = "string"
tokens_in = "int64"
tokens_out = "int64"

[[example]]
name = "of 3 users one is the top 1 %; a tie goes to the smaller name; unknown counts do not add; nobody in particular is no user"
expect = [
  { release = "r1", cluster = "u1", n = 1, sum_x = 60.0, sum_y = 20.0, sum_xx = 3600.0, sum_yy = 400.0, sum_xy = 1200.0 },
  { release = "r1", cluster = "u2", n = 1, sum_x = 60.0, sum_y = 20.0, sum_xx = 3600.0, sum_yy = 400.0, sum_xy = 1200.0 },
  { release = "r1", cluster = "u3", n = 1, sum_x = 0.0, sum_y = 20.0, sum_xx = 0.0, sum_yy = 400.0, sum_xy = 0.0 },
  { cluster = "u1", n = 1, sum_x = 5.0, sum_y = 5.0, sum_xx = 25.0, sum_yy = 25.0, sum_xy = 25.0 },
]
[example.tables]
spans = [
  { release = "r1", user_id = "u1", tokens_in = 10, tokens_out = 20 },
  { release = "r1", user_id = "u1", tokens_in = 30 },
  { release = "r1", user_id = "u2", tokens_in = 60, tokens_out = 0 },
  { release = "r1", user_id = "u3", tokens_in = 0 },
  { release = "r1", user_id = "u4" },
  { release = "r1", tokens_in = 1000, tokens_out = 1000 },
  { user_id = "u1", tokens_out = 5 },
]

[[example]]
name = "two test accounts by name and one by its organisation are left out, a name that only begins like one is not; top half of 2"
expect = [
  { release = "r1", cluster = "u1", n = 1, sum_x = 40.0, sum_y = 20.0, sum_xx = 1600.0, sum_yy = 400.0, sum_xy = 800.0 },
  { release = "r1", cluster = "load", n = 1, sum_x = 10.0, sum_y = 20.0, sum_xx = 100.0, sum_yy = 400.0, sum_xy = 200.0 },
]
[example.parameters]
percent = 50
test_accounts = "load-1,bot"
test_org_prefix = "test-"
[example.tables]
spans = [
  { release = "r1", user_id = "u1", org_id = "acme", tokens_out = 40 },
  { release = "r1", user_id = "u1", org_id = "test-acme", tokens_out = 900 },
  { release = "r1", user_id = "load", tokens_out = 10 },
  { release = "r1", user_id = "load-1", org_id = "acme", tokens_out = 900 },
  { release = "r1", user_id = "bot", tokens_out = 900 },
  { release = "r1", user_id = "u9", org_id = "test-9", tokens_out = 900 },
]
---*/
WITH users AS (
  SELECT
    release,
    user_id,
    CAST(SUM(COALESCE(tokens_in, 0) + COALESCE(tokens_out, 0)) AS DOUBLE) AS tokens
  FROM spans
  WHERE
    user_id IS NOT NULL
    AND (tokens_in IS NOT NULL OR tokens_out IS NOT NULL)
    -- A name is on the list where taking it off the list changes the list.
    AND (
      $test_accounts = ''
      OR REPLACE(CONCAT(',', $test_accounts, ','), CONCAT(',', user_id, ','), '') = CONCAT(',', $test_accounts, ',')
    )
    AND ($test_org_prefix = '' OR org_id IS NULL OR NOT STARTS_WITH(org_id, $test_org_prefix))
  GROUP BY release, user_id
),
ranked AS (
  SELECT
    release,
    user_id,
    tokens,
    CAST(ROW_NUMBER() OVER (PARTITION BY release ORDER BY tokens DESC NULLS LAST, user_id NULLS LAST) AS BIGINT) AS place,
    CAST(COUNT(*) OVER (PARTITION BY release) AS BIGINT) AS users
  FROM users
),
flagged AS (
  -- The top percent, rounded up to whole users: one at least.
  SELECT
    release,
    user_id,
    tokens,
    users,
    CASE WHEN (place - 1) * 100 < users * $percent THEN 1 ELSE 0 END AS top
  FROM ranked
),
cut AS (
  SELECT
    release,
    user_id,
    tokens,
    top,
    MIN(CASE WHEN top = 1 THEN tokens END) OVER (PARTITION BY release) AS least,
    CAST(SUM(top) OVER (PARTITION BY release) AS DOUBLE) / NULLIF(CAST(users AS DOUBLE), 0) AS share
  FROM flagged
),
parts AS (
  -- Who is on top is itself found from the data. A top user counts with the tokens above the cut, and everybody with an equal
  -- part of the cut: the sum is that of the top users' tokens, and the spread between users is that of their share.
  SELECT release, user_id, tokens AS x, top * (tokens - least) + least * share AS y
  FROM cut
)
SELECT
  release,
  user_id AS cluster,
  CAST(COUNT(*) AS BIGINT) AS n,
  SUM(x) AS sum_x,
  SUM(y) AS sum_y,
  SUM(x * x) AS sum_xx,
  SUM(y * y) AS sum_yy,
  SUM(x * y) AS sum_xy
FROM parts
GROUP BY release, user_id
