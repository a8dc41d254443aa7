"""How many run on Kubernetes, and on what: the queues are what scales, what disturbs is bounded, and the stores keep
what they confirmed."""

import configparser
import re
from pathlib import Path

import pytest
from tidings import topology
from tidings.adapters.database import DatabaseSettings
from tidings.settings import load
from tidings.topology import CHANNELS
from tidings.wiring import DeliverySettings

from local.schedule.__main__ import TIMEOUT
from local.services import packages
from tests.infra.manifests import (
    BASE,
    KNATIVE,
    KUBERNETES,
    LOOPBACK,
    deployment,
    kustomizations,
    manifests,
    named,
    pod,
    selects,
    spec_of,
    workloads,
)
from tests.infra.test_observability import ran

every_channel = pytest.mark.parametrize("channel", CHANNELS)


SCALER_KEYS = {"protocol", "queueName", "mode", "value"}
"""Some of KEDA's RabbitMQ scaler: pkg/scalers/rabbitmq_scaler.go of v2.20.2, rabbitMQMetadata. The CRD has any."""


@every_channel
def test_a_channel_scales_on_both_its_queues_and_drains(channel: str) -> None:
    spec = named(BASE, "ScaledObject", channel)["spec"]
    assert spec["scaleTargetRef"] == {"name": channel}
    assert "replicas" not in deployment(channel)["spec"], "it would undo what KEDA decided"
    high, normal = topology.work_queues(channel)
    by_queue = {trigger["metadata"]["queueName"]: trigger for trigger in spec["triggers"]}
    assert set(by_queue) == {high, normal}
    for trigger in spec["triggers"]:
        assert set(trigger["metadata"]) == SCALER_KEYS
        assert (trigger["type"], trigger["metadata"]["protocol"]) == ("rabbitmq", "http")
        assert trigger["metadata"]["mode"] == "QueueLength"
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        authentication = named(BASE, "TriggerAuthentication", trigger["authenticationRef"]["name"])
        assert [reference["parameter"] for reference in authentication["spec"]["secretTargetRef"]] == ["host"]
    value = {queue: int(trigger["metadata"]["value"]) for queue, trigger in by_queue.items()}
    assert value[high] == load(DeliverySettings, {}).concurrency + 2 < value[normal]
    assert spec["minReplicaCount"] >= 1
    (down,) = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]["policies"]
    assert down["value"] == 1
    assert down["periodSeconds"] >= spec_of(channel)["terminationGracePeriodSeconds"]


def test_every_deployment_has_a_budget_that_lets_nodes_be_drained_and_selects_its_pods() -> None:
    for one in workloads(BASE):
        if one.kind == "Deployment":
            budget = named(BASE, "PodDisruptionBudget", one.name)["spec"]
            assert budget["maxUnavailable"] == 1
            assert selects(budget["selector"], pod(one)["metadata"]["labels"])
            assert selects(one.content["spec"]["selector"], pod(one)["metadata"]["labels"])
            assert one.content["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("folder", [BASE, KNATIVE], ids=str)
def test_every_service_leads_to_one_deployments_pods(folder: Path) -> None:
    for one in manifests(folder):
        if one.kind == "Service":
            selector = {"matchLabels": one.content["spec"]["selector"]}
            led_to = [work.name for work in workloads(folder) if selects(selector, pod(work)["metadata"]["labels"])]
            assert led_to == [one.name]


def test_the_sweep_goes_on_for_most_of_each_minute_and_never_twice_at_once() -> None:
    spec = named(BASE, "CronJob", "sweep")["spec"]
    arguments = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    every, duration = (float(arguments[arguments.index(option) + 1]) for option in ("--every", "--for"))
    assert (spec["schedule"], spec["concurrencyPolicy"], every) == ("* * * * *", "Forbid", 1)
    assert 45 <= duration <= 60
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > duration + TIMEOUT
    assert spec["startingDeadlineSeconds"] > 10  # below which a controller that looks every ten seconds may miss it


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_with_metrics_each_channels_function_listens_at_its_pods_address_and_else_nothing_changes() -> None:
    (patch,) = kustomizations()[KUBERNETES / "components" / "metrics"]["patches"]
    assert patch["target"] == {"kind": "Deployment", "labelSelector": "tidings.dev/role=channel"}
    paths = re.findall(r"path: (\S+?),", patch["patch"])
    assert paths[:2] == ["/spec/template/spec/initContainers/0/args/5"] * 2
    for channel in CHANNELS:
        assert deployment(channel)["metadata"]["labels"]["tidings.dev/role"] == "channel"
        assert spec_of(channel)["initContainers"][0]["args"][5] == LOOPBACK


def test_prometheus_is_told_where_they_are_in_words_that_it_knows(tmp_path: Path) -> None:
    """But for kubernetes_sd_configs, which Debian builds it without."""
    if "prometheus" in packages.missing(packages.CHECKS):
        packages.install(["prometheus"])
    text = (KUBERNETES / "components" / "metrics" / "prometheus.yaml").read_text()
    found = "kubernetes_sd_configs: [{role: pod, namespaces: {names: [tidings]}}]"
    assert text.count(found) == text.count("job_name") == 2
    file = tmp_path / "prometheus.yaml"
    file.write_text(text.replace(found, "static_configs: [{targets: ['127.0.0.1:8080']}]"))
    ran(packages.promtool_program(), "check", "config", "--syntax-only", str(file))


# --- stores -----------------------------------------------------------------------------------------------------------

STORES = KUBERNETES / "stores"


def test_the_broker_has_three_nodes_on_three_machines() -> None:
    spec = named(STORES, "RabbitmqCluster", "rabbitmq")["spec"]
    assert spec["replicas"] == 3
    (rule,) = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    budget = named(STORES, "PodDisruptionBudget", "rabbitmq")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == rule["labelSelector"]
    given = dict(line.split(" = ") for line in spec["rabbitmq"]["additionalConfig"].splitlines() if " = " in line)
    assert given["quorum_queue.continuous_membership_reconciliation.target_group_size"] == "3"


def test_the_database_has_on_disk_what_it_says_is_committed() -> None:
    spec = named(STORES, "InnoDBCluster", "mysql")["spec"]
    server = configparser.ConfigParser(inline_comment_prefixes="#")
    server.read_string(spec["mycnf"])
    assert server["mysqld"]["innodb_flush_log_at_trx_commit"] == "1"
    assert server["mysqld"]["sync_binlog"] == "1"
    assert spec["instances"] == 3
    assert int(server["mysqld"]["max_connections"]) > connections_at_most()


def connections_at_most() -> int:
    """All pods that there may be during a rolling update, each process with its pool full."""
    intake = named(BASE, "HorizontalPodAutoscaler", "intake")["spec"]["maxReplicas"] + 1
    replay = named(BASE, "Deployment", "replay")["spec"]["replicas"] + 1
    channels = [named(BASE, "ScaledObject", channel)["spec"]["maxReplicaCount"] + 1 for channel in CHANNELS]
    return int((intake + replay + 2 * sum(channels)) * load(DatabaseSettings, {}).database_pool)
