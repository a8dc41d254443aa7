"""What the manifests for Kubernetes promise: nobody gets in or out who need not, what is under way comes to its end,
the queues are what scales, and the stores keep what they confirmed."""

import configparser
import re
from pathlib import Path

import pytest
from tidings import topology
from tidings.adapters.database import DatabaseSettings
from tidings.settings import load
from tidings.topology import CHANNELS
from tidings.wiring import DeliverySettings

from local.function import DRAIN
from local.schedule.__main__ import TIMEOUT
from local.services import packages
from tests.infra.manifests import (
    KUBERNETES,
    ROOT,
    Manifest,
    Resource,
    containers,
    kustomizations,
    manifests,
    named,
    pod,
    workloads,
)
from tests.infra.test_observability import ran

BASE = KUBERNETES / "base"
KNATIVE = KUBERNETES / "components" / "knative"
POD_IP, LOOPBACK = "0.0.0.0", "127.0.0.1"
PREFERRED = 5.0  # seconds of preStop, in which proxies hear that a pod is leaving

every_workload = pytest.mark.parametrize("workload", workloads(KUBERNETES), ids=str)
every_channel = pytest.mark.parametrize("channel", CHANNELS)


def deployment(channel: str) -> Resource:
    return named(BASE, "Deployment", channel)


def spec_of(channel: str) -> Resource:
    spec: Resource = deployment(channel)["spec"]["template"]["spec"]
    return spec


def listens_at(container: Resource) -> str:
    return str(container["args"][container["args"].index("--host") + 1])


# --- pods -------------------------------------------------------------------------------------------------------------


@every_workload
def test_a_pod_is_nobody_has_nothing_and_is_not_written_to(workload: Manifest) -> None:
    """The profile `restricted`, and more: a root file system that is read-only, no token of Kubernetes' API."""
    spec = pod(workload)["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": uid_of_the_image(),
        "runAsGroup": uid_of_the_image(),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False  # they would be variables by the dozen
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all(set(volume) == {"name", "emptyDir"} for volume in spec.get("volumes", []))
    for container in containers(workload):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}  # of CPU, none: it would only slow down


def uid_of_the_image() -> int:
    found = re.search(r"useradd .*--uid (\d+)", (ROOT / "local" / "Dockerfile").read_text())
    assert found is not None
    return int(found[1])


def test_the_namespace_refuses_other_pods() -> None:
    labels = named(BASE, "Namespace", "tidings")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert named(BASE, "ServiceAccount", "tidings")["automountServiceAccountToken"] is False


@every_workload
def test_no_setting_that_is_a_secret_stands_in_a_manifest(workload: Manifest) -> None:
    given = {variable["name"]: variable for container in containers(workload) for variable in container.get("env", [])}
    assert set(given) <= {"TIDINGS_DATABASE_TIMEOUT", "TIDINGS_CLOUDEVENTS"}
    for folder in kustomizations().values():
        for made in folder.get("configMapGenerator", []):
            assert not [line for line in made["literals"] if re.search("URL|KEY|TOKEN|SECRET|ACCOUNT", line)]


@every_channel
def test_who_holds_a_secret_is_who_needs_it(channel: str) -> None:
    function, trigger = spec_of(channel)["initContainers"][0], spec_of(channel)["containers"][0]
    assert secrets_of(function) == {"stores", "trigger", channel}
    assert secrets_of(trigger) == {"stores", "trigger"}
    for name in ("intake", "replay"):
        (container,) = named(BASE, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        assert secrets_of(container) == {"stores", "keys"}


def secrets_of(container: Resource) -> set[str]:
    return {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}


# --- a channel's pod --------------------------------------------------------------------------------------------------


def test_channels_differ_in_their_name_alone() -> None:
    texts = {channel: (BASE / f"{channel}.yaml").read_text() for channel in CHANNELS}
    assert len({re.sub(rf"\b{channel}\b", "CHANNEL", text) for channel, text in texts.items()}) == 1


@every_channel
def test_the_function_is_there_before_its_trigger_and_after_it(channel: str) -> None:
    """A native sidecar: it has started before the containers start, and is stopped when they have ended."""
    (function,), (trigger,) = spec_of(channel)["initContainers"], spec_of(channel)["containers"]
    assert function["restartPolicy"] == "Always"
    assert function["args"][:4] == ["python", "-m", "local.function", channel]
    assert {"startupProbe", "livenessProbe"} <= set(function)
    port = function["args"][-1]
    assert trigger["args"] == ["python", "-m", "local.trigger", f"{channel}=http://{LOOPBACK}:{port}"]


@every_channel
def test_there_is_time_for_the_batch_under_way_and_for_the_functions_end(channel: str) -> None:
    lease = load(DeliverySettings, {}).lease
    waits_for_a_batch = lease + 10  # local/trigger
    assert "lease + 10" in (ROOT / "local" / "trigger" / "__main__.py").read_text()
    assert spec_of(channel)["terminationGracePeriodSeconds"] >= waits_for_a_batch + DRAIN
    assert not [
        line for made in kustomizations().values() for line in literals(made) if line.startswith("TIDINGS_LEASE")
    ]


def literals(kustomization: Resource) -> list[str]:
    return [line for made in kustomization.get("configMapGenerator", []) for line in made["literals"]]


@pytest.mark.parametrize(
    "one", [one for one in workloads(KUBERNETES) if one.name in ("intake", "replay", "email-events")], ids=str
)
def test_what_is_called_from_outside_its_pod_has_time_to_be_forgotten_and_to_end(one: Manifest) -> None:
    (container,) = containers(one)
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", f"{PREFERRED:g}"]
    assert pod(one)["spec"]["terminationGracePeriodSeconds"] > PREFERRED + DRAIN
    assert listens_at(container) == POD_IP
    assert container["ports"] == [{"name": "http", "containerPort": int(container["args"][-1])}]


@pytest.mark.parametrize("name", ["intake", "replay"])
def test_a_database_that_is_down_takes_no_pod_out_and_restarts_none(name: str) -> None:
    """It is down for all of them: they answer 503 and when to come again. Only a new pod must reach it once."""
    (container,) = named(BASE, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/healthz", "livenessProbe": "/healthz"}
    assert container["startupProbe"]["timeoutSeconds"] > load(DatabaseSettings, {}).database_timeout


# --- the network ------------------------------------------------------------------------------------------------------


def policies(direction: str, *folders: str) -> dict[str, Resource]:
    """The policies that allow something, by name."""
    found = [one for folder in folders or ("base",) for one in manifests(KUBERNETES / folder)]
    allowing = (one for one in found if one.kind == "NetworkPolicy" and direction in one.content["spec"])
    return {one.name: one.content["spec"] for one in allowing}


def selects(selector: Resource, labels: Resource) -> bool:
    values = all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
    return values and all(_fits(rule, labels) for rule in selector.get("matchExpressions", []))


def _fits(rule: Resource, labels: Resource) -> bool:
    if rule["operator"] == "DoesNotExist":
        return rule["key"] not in labels
    assert rule["operator"] == "In"
    return labels.get(rule["key"]) in rule["values"]


def test_nothing_comes_in_and_nothing_goes_out_unless_it_is_named() -> None:
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
    """It listens at the pod's loopback, and no policy lets anybody into the pod."""
    assert listens_at(spec_of(channel)["initContainers"][0]) == LOOPBACK
    labels = deployment(channel)["spec"]["template"]["metadata"]["labels"]
    assert not [name for name, spec in policies("ingress").items() if selects(spec["podSelector"], labels)]
    assert not [one for one in manifests(BASE) if one.kind == "Service" and one.name == channel]


def test_who_is_let_in_elsewhere() -> None:
    allowed = policies("ingress", "base", "components/metrics", "components/knative")
    assert set(allowed) == {"intake", "replay", "metrics", "email-events"}
    sources = {
        name: [list(source) for rule in spec["ingress"] for source in rule["from"]] for name, spec in allowed.items()
    }
    assert sources == {
        "intake": [["namespaceSelector"]],
        "replay": [["namespaceSelector"], ["podSelector"]],
        "metrics": [["namespaceSelector"]],
        "email-events": [["podSelector"]],
    }
    for spec in allowed.values():
        for rule in spec["ingress"]:
            assert all(selector.get("matchLabels") for source in rule["from"] for selector in source.values())


@every_workload
def test_a_pod_reaches_what_it_needs_and_no_more(workload: Manifest) -> None:
    labels = pod(workload)["metadata"]["labels"]
    reached = {
        port["port"]
        for spec in policies("egress", "base", "components/knative").values()
        if selects(spec["podSelector"], labels)
        for rule in spec["egress"]
        for port in rule["ports"]
    }
    names, stores = {53}, {3306, 6446, 5671, 5672}
    vendors = {"email": {465, 587}, "sms": {443}, "push": {443}}
    expected = {8080} if workload.name == "sweep" else stores | vendors.get(labels["app.kubernetes.io/name"], set())
    assert reached == names | expected


def test_where_cloudevents_need_no_token_the_network_lets_only_their_sources_in() -> None:
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


# --- scale, and what disturbs ----------------------------------------------------------------------------------------

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
