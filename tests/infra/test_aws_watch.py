"""The alarms and the dashboard on AWS use metrics that exist, with their exact names and dimensions."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from ruamel.yaml import YAML
from tidings.domain.channels import CHANNELS
from tidings.domain.notification import Status
from tidings.domain.receipt import ReceiptKind
from tidings.messaging import topology
from tidings.observability import metrics
from tidings.observability.cloudwatch import NAMESPACE, EmfMeter
from tidings.providers import RECEIPTS

from tests.infra.cloudformation import of_type
from tests.infra.manifests import ROOT

FUNCTIONS = ("intake", "replay", "receipts", "sweep", *CHANNELS)
GIVEN = {"Topic": "arn:aws:sns:eu-central-1:123456789012:tidings"}

KNOWN = {metric.name: metric for metric in metrics.METRICS}

RENAMED: Mapping[str, str] = {"PartDown": "Down", "DeadLettersGrow": "DeadLetters"}
"""Alerts of Prometheus whose alarm has another name; else it ends in the alert's, without Tidings."""

NOT_ON_AWS: Mapping[str, str] = {
    "SuppressedJump": "an alarm cannot compare with the day before",
    "BouncesStopped": "no part of Tidings on Lambda takes bounces, and `poll --once` has no metrics",
    "BouncesNotUnderstood": "the same",
}
"""Alerts of Prometheus that cannot be alarms, with the reason; docs/aws.md has them too."""

OF_AWS = r"(Errors|Throttles|ReceiptsFail|Database(Storage|Busy|Connections)|Broker(Messages|Busy))$"
"""Alarms of what AWS runs for us, which have no alert."""


def alarms() -> dict[str, dict[str, Any]]:
    return of_type("watch", "AWS::CloudWatch::Alarm", **GIVEN)


def watched() -> dict[str, dict[str, Any]]:
    """The alarms' metrics, by the alarm's name, or by `name:id` if it has several."""
    found: dict[str, dict[str, Any]] = {}
    for name, alarm in alarms().items():
        if "Metrics" not in alarm:
            found[name] = alarm
        for one in alarm.get("Metrics", ()):
            if "MetricStat" in one:
                found[f"{name}:{one['Id']}"] = one["MetricStat"]["Metric"]
    return found


def dimensions(alarm: dict[str, Any]) -> dict[str, str]:
    return {one["Name"]: one["Value"] for one in alarm["Dimensions"]}


@pytest.fixture(scope="module")
def ours() -> dict[str, dict[str, Any]]:
    """The metrics that alarms watch and that Tidings itself writes, named as in `watched`."""
    return {name: metric for name, metric in watched().items() if metric["Namespace"] == NAMESPACE}


Ours = Mapping[str, dict[str, Any]]


def test_each_alarms_metric_is_written_by_a_function(ours: Ours, capsys: pytest.CaptureFixture[str]) -> None:
    """With one dimension more or less it would be another metric, and the alarm would never fire."""
    for name, alarm in ours.items():
        said, metric = dimensions(alarm), KNOWN[alarm["MetricName"]]
        service = said.pop("service")
        assert service.removeprefix("tidings-") in FUNCTIONS, name
        meter = EmfMeter(service)
        meter.add(metric, tuple(said.get(label, "") for label in metric.labels), 1)
        meter.flush()
        line = json.loads(capsys.readouterr().out)
        (written,) = line["_aws"]["CloudWatchMetrics"]
        assert [sorted(one) for one in written["Dimensions"]] == [sorted([*said, "service"])], name
        assert {key: line[key] for key in said} == said, name


def test_alarm_dimensions_have_existing_values(ours: Ours) -> None:
    queues = {queue.name for queue in topology.queues()}
    values: dict[str, set[str]] = {
        "channel": set(CHANNELS),
        "provider": {"smtp", "twilio", "fcm", "webhooks"},
        "status": set(map(str, Status)),
        "class": {"account", "transient", "permanent", "ambiguous", "accepted"},
        "part": {"database", "broker"},
        "found": {"lost"},
        "state": {"gone", "failing"},
        "result": {"unmatched", "dropped"},
        "queue": queues,
        "kind": {"parking", "work", *map(str, ReceiptKind)},
    }
    for name, alarm in ours.items():
        for key, value in dimensions(alarm).items():
            assert key == "service" or value in values[key], name


def test_gauges_come_from_the_sweep_and_counters_from_the_function_that_counts(ours: Ours) -> None:
    for name, alarm in ours.items():
        metric, said = KNOWN[alarm["MetricName"]], dimensions(alarm)
        by_sweep = metric.kind == "gauge" or metric.name.startswith("tidings_sweep")
        counted_by = {f"tidings-{said.get('channel', 'receipts')}"}
        if said.get("result") == "dropped":  # 72 hours later
            counted_by = {"tidings-sweep"}
        elif metric.name == "tidings_doubled_total":
            counted_by |= {"tidings-sweep"}  # which tries again what found no notification
        assert said["service"] in ({"tidings-sweep"} if by_sweep else counted_by), name


def test_every_function_and_channel_has_alarms_and_every_alarm_notifies_the_topic(ours: Ours) -> None:
    of_lambda = [
        (one["MetricName"], dimensions(one)["FunctionName"])
        for one in watched().values()
        if "Lambda" in one["Namespace"]
    ]
    assert sorted(of_lambda) == sorted(
        (what, f"tidings-{name}") for name in FUNCTIONS for what in ("Errors", "Throttles")
    )
    for metric in ("tidings_oldest_due_seconds", "tidings_outcomes_total", "tidings_notifications"):
        assert {dimensions(one)["channel"] for one in ours.values() if one["MetricName"] == metric} == set(CHANNELS)
    for metric in ("tidings_receipts_refused_total", "tidings_receipts_total", "tidings_doubled_total"):
        assert {dimensions(one)["provider"] for one in ours.values() if one["MetricName"] == metric} == set(RECEIPTS)
    for name, alarm in alarms().items():
        assert alarm["AlarmActions"] == [GIVEN["Topic"]], name
        assert alarm["AlarmDescription"], name


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_backlog_of_a_refused_account_raises_no_second_alarm(channel: str) -> None:
    """As in infra/observability/alerts.yaml. A gauge that was never written is filled with 0."""
    alarm = alarms()[f"{channel}BacklogOld"]
    (shown,) = [one for one in alarm["Metrics"] if one.get("ReturnData", True)]
    assert shown["Expression"] == "IF(FILL(refused, 0) > 0, 0, oldest)"
    named = {one["Id"]: one["MetricStat"]["Metric"] for one in alarm["Metrics"] if "MetricStat" in one}
    assert {key: one["MetricName"] for key, one in named.items()} == {
        "oldest": "tidings_oldest_due_seconds",
        "refused": "tidings_account_refused",
    }
    assert {dimensions(one)["channel"] for one in named.values()} == {channel}
    assert named["refused"]["Dimensions"] == alarms()[f"{channel}AccountRefused"]["Dimensions"]


def test_every_alert_of_prometheus_has_its_alarm_or_a_reason_and_every_alarm_its_alert() -> None:
    """An alarm about several channels, parts or vendors is one for each."""
    groups = YAML(typ="safe").load(ROOT / "infra/observability/alerts.yaml")["groups"]
    alerts = {rule["alert"].removeprefix("Tidings") for group in groups for rule in group["rules"]}
    assert {*RENAMED, *NOT_ON_AWS} <= alerts
    ends = {RENAMED.get(alert, alert) for alert in alerts - set(NOT_ON_AWS)}
    found = {name: {end for end in ends if name.endswith(end)} for name in alarms()}
    assert ends - {end for named in found.values() for end in named} == set(), "alerts without an alarm"
    without = [name for name, named in found.items() if not named and not re.search(OF_AWS, name)]
    assert without == [], "alarms without an alert"
    page = (ROOT / "docs/aws.md").read_text()
    assert [alert for alert in NOT_ON_AWS if f"`Tidings{alert}`" not in page] == []


def test_metric_math_uses_exactly_its_own_metrics_at_most_ten_of_one_period() -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html; a misspelt name would only
    show when it is deployed."""
    computed = {name: alarm["Metrics"] for name, alarm in alarms().items() if "Metrics" in alarm}
    assert len(computed) > 5
    for name, metrics_ in computed.items():
        entries = {one["Id"]: one for one in metrics_}
        stats = {key: one["MetricStat"] for key, one in entries.items() if "MetricStat" in one}
        words = {
            word
            for one in entries.values()
            for word in re.findall(r"[A-Za-z_]\w*", one.get("Expression", ""))
            if word not in ("IF", "FILL", "AND")
        }
        shown = {key for key, one in entries.items() if one.get("ReturnData", True)}
        assert len(shown) == 1, name
        assert words == set(entries) - shown, name
        assert len(entries) == len(metrics_), name
        assert len(stats) <= 10, name
        assert len({one["Period"] for one in stats.values()}) == 1, name


def test_missing_data_of_the_sweep_is_an_alarm() -> None:
    assert alarms()["SweepStopped"]["TreatMissingData"] == "breaching"


def test_the_dashboard_uses_existing_metrics_with_all_dimensions() -> None:
    (dashboard,) = of_type("watch", "AWS::CloudWatch::Dashboard", **GIVEN).values()
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    found = [
        re.search(r"SEARCH\('\{Tidings,([\w,]+)\} MetricName=\"(\w+)\"", entry["expression"])
        for widget in widgets
        for line in widget["properties"]["metrics"]
        for entry in line
        if isinstance(entry, dict) and "expression" in entry
    ]
    assert len(found) > 8
    for search in found:
        assert search is not None
        labels, name = set(search[1].split(",")), search[2]
        whole = {*KNOWN[name].labels, "service"}
        # Retry queues and parking belong to no channel, and a dimension without a value is left out.
        assert labels in ((whole, whole - {"channel"}) if name == "tidings_queue_messages" else (whole,)), name
    places = [(one["x"], one["y"]) for one in widgets]
    assert len(set(places)) == len(places)
