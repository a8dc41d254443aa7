"""Network policies on Kubernetes: only named connections are allowed."""

import pytest
from tidings.domain.channels import CHANNELS
from tidings.messaging import topology

from tests.infra.manifests import (
    BASE,
    KNATIVE,
    KUBERNETES,
    LOOPBACK,
    Manifest,
    Resource,
    containers,
    deployment,
    listens_at,
    manifests,
    named,
    pod,
    selects,
    spec_of,
    workloads,
)

every_workload = pytest.mark.parametrize("workload", workloads(KUBERNETES), ids=str)
every_channel = pytest.mark.parametrize("channel", CHANNELS)


def policies(direction: str, *folders: str) -> dict[str, Resource]:
    """The policies that allow something, by name."""
    found = [one for folder in folders or ("base",) for one in manifests(KUBERNETES / folder)]
    allowing = (one for one in found if one.kind == "NetworkPolicy" and direction in one.content["spec"])
    return {one.name: one.content["spec"] for one in allowing}


def test_all_traffic_is_denied_by_default() -> None:
    assert named(BASE, "NetworkPolicy", "default-deny")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for direction, rules in (("Ingress", policies("ingress")), ("Egress", policies("egress"))):
        for name, spec in rules.items():
            assert spec["policyTypes"] == [direction], name
            assert all(rule.get("ports") for rule in spec[direction.lower()]), name


@every_channel
def test_a_channels_function_is_reached_by_its_trigger_alone(channel: str) -> None:
    """It listens at the pod's loopback, and no policy allows ingress to the pod."""
    assert listens_at(spec_of(channel)["initContainers"][0]) == LOOPBACK
    labels = deployment(channel)["spec"]["template"]["metadata"]["labels"]
    assert not [name for name, spec in policies("ingress").items() if selects(spec["podSelector"], labels)]
    assert not [one for one in manifests(BASE) if one.kind == "Service" and one.name == channel]


def test_ingress_of_the_other_pods() -> None:
    allowed = policies("ingress", "base", "components/metrics", "components/knative", "components/bounces")
    assert set(allowed) == {"intake", "replay", "receipts", "metrics", "email-events", "bounces"}
    sources = {
        name: [list(source) for rule in spec["ingress"] for source in rule["from"]] for name, spec in allowed.items()
    }
    assert sources == {
        "intake": [["namespaceSelector"]],
        "replay": [["namespaceSelector"], ["podSelector"]],
        "receipts": [["namespaceSelector"]],
        "metrics": [["namespaceSelector"]],
        "email-events": [["podSelector"]],
        "bounces": [["namespaceSelector"]],
    }
    for spec in allowed.values():
        for rule in spec["ingress"]:
            assert all(selector.get("matchLabels") for source in rule["from"] for selector in source.values())


@every_workload
def test_a_pod_reaches_what_it_needs_and_no_more(workload: Manifest) -> None:
    labels = pod(workload)["metadata"]["labels"]
    reached = {
        port["port"]
        for spec in policies("egress", "base", "components/knative", "components/bounces").values()
        if selects(spec["podSelector"], labels)
        for rule in spec["egress"]
        for port in rule["ports"]
    }
    names, stores = {53}, {3306, 6446, 5671, 5672}
    vendors = {"email": {465, 587}, "sms": {443}, "push": {443}, "webhook": {443}, "replay": {443}}
    database = {3306, 6446}
    others = {"sweep": {8080}, "receipts": database, "bounces": database, "bounces-mailbox": database | {993, 143}}
    expected = others.get(workload.name, stores | vendors.get(labels["app.kubernetes.io/name"], set()))
    assert reached == names | expected


def test_a_function_without_a_token_is_reached_by_its_sources_alone() -> None:
    opened = [
        one
        for one in workloads(KUBERNETES)
        for container in containers(one)
        if {"name": "TIDINGS_CLOUDEVENTS", "value": "open"} in container.get("env", [])
    ]
    assert [one.name for one in opened] == ["email-events"]
    labels = pod(opened[0])["metadata"]["labels"]
    rules = policies("ingress", "base", "components/metrics", "components/knative")
    (spec,) = [spec for spec in rules.values() if selects(spec["podSelector"], labels)]
    (rule,) = spec["ingress"]
    (source,) = rule["from"]
    adapters = [one for one in manifests(KNATIVE) if one.kind == "RabbitmqSource"]
    for one in adapters:
        given = {
            "eventing.knative.dev/source": "rabbitmq-source-controller",
            "eventing.knative.dev/SourceName": one.name,
        }
        assert selects(source["podSelector"], given)
    assert not selects(source["podSelector"], labels)
    queues = {one.content["spec"]["rabbitmqResourcesConfig"]["queueName"] for one in adapters}
    assert queues == set(topology.work_queues("email"))
    assert all(one.content["spec"]["rabbitmqResourcesConfig"]["predeclared"] for one in adapters)


STORES = KUBERNETES / "stores"


@pytest.mark.parametrize(
    ("labels", "reached"),
    [
        ({"app.kubernetes.io/name": "rabbitmq"}, {5671, 15671, 4369, 25672, 35672}),
        ({"component": "mysqlrouter", "mysql.oracle.com/cluster": "mysql"}, {6446}),
        ({"component": "mysqld", "mysql.oracle.com/cluster": "mysql"}, {3306, 33060, 33061}),
        ({"app.kubernetes.io/name": "mysql-innodbcluster-backup-task"}, set()),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_the_stores_are_reached_only_at_their_tls_ports_by_named_pods(labels: Resource, reached: set[int]) -> None:
    assert named(STORES, "NetworkPolicy", "default-deny")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    allowed = [spec for spec in policies("ingress", "stores").values() if selects(spec["podSelector"], labels)]
    assert {port["port"] for spec in allowed for rule in spec["ingress"] for port in rule["ports"]} == reached
    assert all(rule["from"] for spec in allowed for rule in spec["ingress"])


def test_only_tidings_operators_and_keda_reach_the_stores_from_other_namespaces() -> None:
    found = {
        (name, source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
        for name, spec in policies("ingress", "stores").items()
        for rule in spec["ingress"]
        for source in rule["from"]
        if "namespaceSelector" in source
    }
    assert found == {
        ("rabbitmq", "tidings"),
        ("rabbitmq", "keda"),
        ("rabbitmq", "rabbitmq-system"),
        ("mysql-router", "tidings"),
        ("mysql", "mysql-operator"),
    }
