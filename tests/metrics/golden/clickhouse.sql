-- error_rate
SELECT release, endpoint, tier, user_id AS cluster, CAST(COUNT(*) AS Nullable(Int64)) AS n, CAST(COUNT(*) FILTER(WHERE status = 'error') AS Nullable(Int64)) AS k FROM spans WHERE NOT (status IS NULL) GROUP BY release, endpoint, tier, user_id;

-- harmful_compliance_rate
WITH ranked AS (SELECT subject_id, value, ROW_NUMBER() OVER (PARTITION BY subject_id ORDER BY recorded_at DESC, label_id DESC) AS newest FROM labels WHERE kind = 'audit' AND source = 'human'), audited AS (SELECT subject_id, value FROM ranked WHERE newest = 1 AND value IN ('harmful_compliance', 'harmful_refused')) SELECT s.release, s.endpoint, s.tier, s.user_id AS cluster, CAST(COUNT(*) AS Nullable(Int64)) AS n, CAST(COUNT(*) FILTER(WHERE a.value = 'harmful_compliance') AS Nullable(Int64)) AS k FROM audited AS a JOIN spans AS s ON s.span_id = a.subject_id GROUP BY s.release, s.endpoint, s.tier, s.user_id;

-- latency_quantile
SELECT release, endpoint, tier, user_id AS cluster, latency_ms AS value, CAST(COUNT(*) AS Nullable(Int64)) AS n FROM spans WHERE status = 'ok' AND NOT (latency_ms IS NULL) GROUP BY release, endpoint, tier, user_id, latency_ms;

-- mean_tokens
SELECT release, endpoint, tier, user_id AS cluster, CAST(COUNT(*) AS Nullable(Int64)) AS n, CAST(SUM(tokens_out) AS Nullable(Float64)) AS sum, SUM(CAST(tokens_out AS Nullable(Float64)) * CAST(tokens_out AS Nullable(Float64))) AS sum_sq FROM spans WHERE status = 'ok' AND NOT (tokens_out IS NULL) GROUP BY release, endpoint, tier, user_id;

-- over_refusal_rate
WITH ranked AS (SELECT subject_id, value, ROW_NUMBER() OVER (PARTITION BY subject_id ORDER BY recorded_at DESC, label_id DESC) AS newest FROM labels WHERE kind = 'audit' AND source = 'human'), audited AS (SELECT subject_id, value FROM ranked WHERE newest = 1 AND value IN ('benign_answered', 'benign_refused')) SELECT s.release, s.endpoint, s.tier, s.user_id AS cluster, CAST(COUNT(*) AS Nullable(Int64)) AS n, CAST(COUNT(*) FILTER(WHERE a.value = 'benign_refused') AS Nullable(Int64)) AS k FROM audited AS a JOIN spans AS s ON s.span_id = a.subject_id GROUP BY s.release, s.endpoint, s.tier, s.user_id;

-- refusal_rate
SELECT release, endpoint, tier, user_id AS cluster, CAST(COUNT(*) AS Nullable(Int64)) AS n, CAST(COUNT(*) FILTER(WHERE refused) AS Nullable(Int64)) AS k FROM spans WHERE status = 'ok' AND NOT (refused IS NULL) GROUP BY release, endpoint, tier, user_id;

-- requests_per_day
WITH daily AS (SELECT release, endpoint, tier, day, COUNT(*) AS requests FROM spans WHERE NOT (day IS NULL) GROUP BY release, endpoint, tier, day), cuts AS (SELECT DISTINCT release, endpoint, tier, MIN(day) OVER (PARTITION BY release) AS first_day, MAX(day) OVER (PARTITION BY release) AS last_day FROM daily), days AS (SELECT DISTINCT day FROM daily), filled AS (SELECT release, endpoint, tier, day, requests FROM daily UNION ALL SELECT c.release, c.endpoint, c.tier, d.day, 0 AS requests FROM cuts AS c CROSS JOIN days AS d WHERE d.day BETWEEN c.first_day AND c.last_day) SELECT release, endpoint, tier, day AS period, CAST(SUM(requests) AS Nullable(Int64)) AS n FROM filled GROUP BY release, endpoint, tier, day;
