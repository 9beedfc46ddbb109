"""Logs and metrics, binary and JSON, whole and broken."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("opentelemetry.proto")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from jurat.telemetry.otlp_signals import decode_logs, decode_metrics


def _logs():
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    score = records.add(
        event_name="gen_ai.evaluation.result", time_unix_nano=9_000, trace_id=b"t" * 16, span_id=b"s" * 8
    )
    for key, value in {"gen_ai.evaluation.name": "thumb", "gen_ai.response.id": "r1"}.items():
        score.attributes.add(key=key).value.string_value = value
    score.attributes.add(key="gen_ai.evaluation.score.value").value.double_value = -1.0
    details = records.add(event_name="gen_ai.client.inference.operation.details")
    details.body.kvlist_value.values.add(key="a").value.int_value = -3
    records.add(severity_text="INFO").body.string_value = "a line"
    return request.SerializeToString()


def test_evaluations_become_scores_inference_events_are_kept_and_plain_lines_counted():
    decoded = decode_logs(_logs(), encoding="protobuf")
    row = decoded.scores.to_pylist()[0]
    assert (row["name"], row["value"], row["response_id"], row["ts_us"]) == ("thumb", -1.0, "r1", 9)
    assert row["span_id"] == (b"s" * 8).hex()
    assert json.loads(decoded.events["body"][0].as_py()) == {"a": -3}
    assert decoded.skipped == {"": 1} and decoded.rejected == []


def test_points_of_all_kinds_of_metrics_become_rows():
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "svc"
    metrics = group.scope_metrics.add().metrics
    metrics.add(name="g", unit="1").gauge.data_points.add(time_unix_nano=5_000, as_int=-4)
    metrics.add(name="s").sum.data_points.add(as_double=2.5)
    metrics.add(name="h", unit="s").histogram.data_points.add(
        count=3, sum=4.5, bucket_counts=[1, 2], explicit_bounds=[0.5]
    )
    point = metrics.add(name="e").exponential_histogram.data_points.add(count=2, scale=-1)
    point.positive.offset = -2
    point.positive.bucket_counts.extend([1, 300])
    metrics.add(name="q").summary.data_points.add(count=1).quantile_values.add(quantile=0.5, value=7.0)
    rows = decode_metrics(request.SerializeToString(), encoding="protobuf").points.to_pylist()
    assert [r["value"] for r in rows] == [-4.0, 2.5, None, None, None]
    assert (rows[0]["ts_us"], rows[0]["unit"], rows[0]["service"]) == (5, "1", "svc")
    assert (rows[2]["count"], rows[2]["sum"]) == (3, 4.5)
    assert json.loads(rows[2]["buckets"]) == {"bounds": [0.5], "counts": [1, 2]}
    assert json.loads(rows[3]["buckets"]) == {"scale": -1, "zero": 0, "positive": {"offset": -2, "counts": [1, 300]}}
    assert json.loads(rows[4]["buckets"]) == {"quantiles": [[0.5, 7.0]]}


def test_each_cut_of_a_request_of_logs_is_read_as_far_as_it_goes():
    data = _logs()
    for stop in range(1, len(data)):
        assert decode_logs(data[:stop], encoding="protobuf").rejected


def test_a_bad_record_in_json_is_rejected_by_itself():
    records = [{"eventName": "gen_ai.x"}, {"eventName": 4}, {"event_name": "gen_ai.y"}]
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()
    decoded = decode_logs(body, encoding="json")
    assert decoded.events["event"].to_pylist() == ["gen_ai.x", "gen_ai.y"] and decoded.rejected[0][0] == 1
