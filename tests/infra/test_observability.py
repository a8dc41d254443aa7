"""The alerts, the example for Prometheus and the dashboard: valid, about metrics that exist, and firing on time.

promtool, of Debian's package `prometheus`, is installed if it is missing and may be, as the servers are.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tidings.domain.channels import CHANNELS
from tidings.observability.metrics import METRICS

from local.services import packages

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra" / "observability"
KNOWN = {
    f"{metric.name}{suffix}"
    for metric in METRICS
    for suffix in (("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",))
}


@pytest.fixture(scope="module")
def promtool() -> str:
    if "prometheus" in packages.missing(packages.CHECKS):
        packages.install(["prometheus"])
    return packages.promtool_program()


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    loaded = YAML(typ="safe").load(FOLDER / "alerts.yaml")
    return [rule for group in loaded["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    loaded = json.loads((FOLDER / "dashboard.json").read_text())
    return [panel for panel in loaded["panels"] if panel["type"] != "row"]


def ran(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- promtool ---------------------------------------------------------------------------------------------------------


def test_the_rules_and_the_example_are_valid(promtool: str) -> None:
    assert "rules found" in ran(promtool, "check", "rules", str(FOLDER / "alerts.yaml"))
    ran(promtool, "check", "config", "--syntax-only", str(FOLDER / "prometheus.yaml"))


def test_an_alert_fires_when_it_should_and_not_before(promtool: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "alerts.yaml", tmp_path)
    tests = tmp_path / "tests.yaml"
    shutil.copy(Path(__file__).with_name("alerts.yaml"), tests)
    ran(promtool, "test", "rules", str(tests))


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(alerts: list[dict[str, Any]]) -> None:
    cases = [
        case
        for test in YAML(typ="safe").load(Path(__file__).with_name("alerts.yaml"))["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {alert["alert"] for alert in alerts}
    assert names == {case["alertname"] for case in cases if case["exp_alerts"]}
    assert names == {case["alertname"] for case in cases if not case["exp_alerts"]}


def test_the_dashboards_queries_are_valid(promtool: str, panels: list[dict[str, Any]], tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions(panels))
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in ran(promtool, "check", "rules", str(file))


def test_a_runbook_that_an_alert_names_is_there(alerts: list[dict[str, Any]]) -> None:
    named = [alert["annotations"]["runbook"] for alert in alerts if "runbook" in alert["annotations"]]
    assert len(named) >= 7
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    there = {f"docs/runbooks.md#{heading.lower().replace(' ', '-')}" for heading in headings}
    assert set(named) <= there


# --- what they are about ----------------------------------------------------------------------------------------------


def expressions(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        for target in panel["targets"]:
            yield target["expr"]


def named(expression: str) -> set[str]:
    return set(re.findall(r"\btidings_\w+", expression))


def test_dashboard_and_alerts_ask_for_metrics_that_exist(
    panels: list[dict[str, Any]], alerts: list[dict[str, Any]]
) -> None:
    for expression in (*expressions(panels), *(alert["expr"] for alert in alerts)):
        assert named(expression), expression
        assert named(expression) <= KNOWN, expression


def test_queries_use_labels_that_the_metric_has(panels: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> None:
    labels = {metric.name: {*metric.labels, "le"} for metric in METRICS}
    for expression in (*expressions(panels), *(alert["expr"] for alert in alerts)):
        known = {
            label
            for name in named(expression)
            for label in labels[next(metric for metric in labels if name.startswith(metric))]
        }
        grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
        selected = re.findall(r"[{,](\w+)(?:=|!=|=~)\"", expression)
        assert {label.strip() for by in grouped for label in by.split(",")} | set(selected) <= known, expression


def test_every_metric_is_on_the_dashboard(panels: list[dict[str, Any]]) -> None:
    shown = {name for expression in expressions(panels) for name in named(expression)}
    assert [metric.name for metric in METRICS if not any(name.startswith(metric.name) for name in shown)] == []


def test_the_dashboards_panels_can_be_told_apart_and_do_not_overlap() -> None:
    loaded = json.loads((FOLDER / "dashboard.json").read_text())
    ids = [panel["id"] for panel in loaded["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for panel in loaded["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_example_scrapes_every_function_and_contains_no_secret() -> None:
    jobs = YAML(typ="safe").load(FOLDER / "prometheus.yaml")["scrape_configs"]
    targets = {
        target.partition(":")[0] for job in jobs for static in job["static_configs"] for target in static["targets"]
    }
    assert targets == {"intake", "replay", "receipts", "bounces", *CHANNELS}
    assert all(set(job["authorization"]) == {"credentials_file"} for job in jobs)
