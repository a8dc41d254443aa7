"""The alarms and the dashboard on AWS: about metrics that are written, by the names under which they are written."""

import json
import re
from typing import Any

import pytest
from tidings import metrics, topology
from tidings.adapters.emf import NAMESPACE, EmfMeter
from tidings.notification import Status
from tidings.topology import CHANNELS

from tests.infra.cloudformation import of_type

FUNCTIONS = ("intake", "replay", *CHANNELS)
GIVEN = {"Topic": "arn:aws:sns:eu-central-1:123456789012:tidings"}

KNOWN = {metric.name: metric for metric in metrics.METRICS}


def alarms() -> dict[str, dict[str, Any]]:
    return of_type("watch", "AWS::CloudWatch::Alarm", **GIVEN)


def dimensions(alarm: dict[str, Any]) -> dict[str, str]:
    return {one["Name"]: one["Value"] for one in alarm["Dimensions"]}


OURS = {name: alarm for name, alarm in alarms().items() if alarm["Namespace"] == NAMESPACE}


@pytest.mark.parametrize("name", OURS)
def test_an_alarm_is_about_what_the_function_writes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The very line, from the meter: with a dimension less or more it would be another metric, and never alarm."""
    alarm, said = OURS[name], dimensions(OURS[name])
    metric = KNOWN[alarm["MetricName"]]
    service = said.pop("service")
    assert service.removeprefix("tidings-") in FUNCTIONS
    meter = EmfMeter(service)
    meter.add(metric, tuple(said.get(label, "") for label in metric.labels), 1)
    meter.flush()
    line = json.loads(capsys.readouterr().out)
    (written,) = line["_aws"]["CloudWatchMetrics"]
    assert [sorted(one) for one in written["Dimensions"]] == [sorted([*said, "service"])]
    assert {key: line[key] for key in said} == said


def test_their_labels_have_values_that_there_are() -> None:
    queues = {queue.name for queue in topology.queues()}
    values: dict[str, set[str]] = {
        "channel": set(CHANNELS),
        "provider": {"smtp", "twilio", "fcm"},
        "status": set(map(str, Status)),
        "class": {"account", "transient", "permanent", "ambiguous", "accepted"},
        "part": {"database", "broker"},
        "found": {"lost"},
        "queue": queues,
        "kind": {"parking"},
    }
    for name, alarm in OURS.items():
        for key, value in dimensions(alarm).items():
            assert key == "service" or value in values[key], name


def test_gauges_come_from_the_sweep_and_counters_from_who_counts() -> None:
    for name, alarm in OURS.items():
        metric, said = KNOWN[alarm["MetricName"]], dimensions(alarm)
        by_sweep = metric.kind == "gauge" or metric.name.startswith("tidings_sweep")
        assert said["service"] == ("tidings-replay" if by_sweep else f"tidings-{said['channel']}"), name


def test_each_function_and_each_channel_is_watched_and_each_alarm_tells_somebody() -> None:
    of_lambda = [
        (one["MetricName"], dimensions(one)["FunctionName"])
        for one in alarms().values()
        if "Lambda" in one["Namespace"]
    ]
    assert sorted(of_lambda) == sorted(
        (what, f"tidings-{name}") for name in FUNCTIONS for what in ("Errors", "Throttles")
    )
    for metric in ("tidings_oldest_due_seconds", "tidings_outcomes_total", "tidings_notifications"):
        assert {dimensions(one)["channel"] for one in OURS.values() if one["MetricName"] == metric} == set(CHANNELS)
    for name, alarm in alarms().items():
        assert alarm["AlarmActions"] == [GIVEN["Topic"]], name
        assert alarm["AlarmDescription"], name


def test_a_sweep_that_says_nothing_is_an_alarm() -> None:
    assert alarms()["SweepStopped"]["TreatMissingData"] == "breaching"


def test_the_dashboard_searches_for_metrics_that_there_are_by_all_of_their_labels() -> None:
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
        # The ladder and parking belong to no channel, and a label without a value is left out.
        assert labels in ((whole, whole - {"channel"}) if name == "tidings_queue_messages" else (whole,)), name
    places = [(one["x"], one["y"]) for one in widgets]
    assert len(set(places)) == len(places)
