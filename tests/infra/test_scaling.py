"""Scaling on Kubernetes by queue length, disruption budgets, and durable stores."""

import configparser
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import jsonpatch
import pytest
from ruamel.yaml import YAML
from tidings.adapters.rabbitmq.broker import BrokerSettings, parameters
from tidings.adapters.sql.database import DatabaseSettings
from tidings.api.body_limits import MAX_BODY
from tidings.config.settings import load
from tidings.domain.channels import CHANNELS
from tidings.domain.timing import SWEEP_FOR
from tidings.messaging import topology
from tidings.runtime.container import DeliverySettings

from local.emulators.certificate import self_signed
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
    settings_file,
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


def test_one_pod_sweeps_every_second_and_never_ends_by_itself() -> None:
    """A CronJob would make a pod a minute, and leave seconds between two runs."""
    (container,) = spec_of("sweep")["containers"]
    assert container["args"][-2:] == ["--every", "1"]
    assert "--for" not in container["args"]
    assert deployment("sweep")["spec"]["replicas"] == 1
    assert spec_of("sweep")["terminationGracePeriodSeconds"] > SWEEP_FOR.total_seconds()
    assert not [one for one in manifests(BASE) if one.kind == "CronJob"]


def test_the_ingress_body_limit_is_intakes() -> None:
    """nginx's default is 1 MB."""
    annotations = named(KUBERNETES / "overlays" / "example", "Ingress", "intake")["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == f"{MAX_BODY // 1024**2}m"


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_the_metrics_component_only_changes_the_functions_address() -> None:
    (patch,) = kustomizations()[KUBERNETES / "components" / "metrics"]["patches"]
    assert patch["target"] == {"kind": "Deployment", "labelSelector": "tidings.dev/role=channel"}
    paths = re.findall(r"path: (\S+?),", patch["patch"])
    assert paths[:2] == ["/spec/template/spec/initContainers/0/args/5"] * 2
    for channel in CHANNELS:
        assert deployment(channel)["metadata"]["labels"]["tidings.dev/role"] == "channel"
        assert spec_of(channel)["initContainers"][0]["args"][5] == LOOPBACK


def test_the_prometheus_configuration_is_valid(tmp_path: Path) -> None:
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


def test_the_database_flushes_every_commit_to_disk() -> None:
    spec = named(STORES, "InnoDBCluster", "mysql")["spec"]
    server = configparser.ConfigParser(inline_comment_prefixes="#")
    server.read_string(spec["mycnf"])
    assert server["mysqld"]["innodb_flush_log_at_trx_commit"] == "1"
    assert server["mysqld"]["sync_binlog"] == "1"
    assert spec["instances"] == 3
    (rule,) = spec["podSpec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert int(server["mysqld"]["max_connections"]) > connections_at_most()


def test_the_database_starts_without_its_plugin() -> None:
    """The operator's sidecar loads group_replication later: a variable of it that is not `loose_` ends the server. It
    writes its own so: mysqloperator/controller/innodbcluster/cluster_objects.py, 01-group_replication.cnf."""
    server = configparser.ConfigParser(inline_comment_prefixes="#")
    server.read_string(named(STORES, "InnoDBCluster", "mysql")["spec"]["mycnf"])
    assert server["mysqld"]["loose_group_replication_consistency"] == "BEFORE_ON_PRIMARY_FAILOVER"
    assert not [name for name in server["mysqld"] if name.startswith("group_replication")]


def test_the_database_is_dumped_each_night_to_an_existing_disk() -> None:
    (schedule,) = named(STORES, "InnoDBCluster", "mysql")["spec"]["backupSchedules"]
    assert (schedule["enabled"], schedule["deleteBackupData"]) == (True, False)
    assert re.fullmatch(r"\d+ \d+ \* \* \*", schedule["schedule"])
    storage = schedule["backupProfile"]["dumpInstance"]["storage"]
    assert named(STORES, "PersistentVolumeClaim", storage["persistentVolumeClaim"]["claimName"])


def test_the_stores_accept_tls_only_and_their_certificates_have_their_names() -> None:
    rabbitmq, mysql = (
        named(STORES, *one)["spec"] for one in (("RabbitmqCluster", "rabbitmq"), ("InnoDBCluster", "mysql"))
    )
    assert rabbitmq["tls"]["disableNonTLSListeners"] is True
    made = {
        one.content["spec"]["secretName"]: one.content["spec"] for one in manifests(STORES) if one.kind == "Certificate"
    }
    wanted = {
        rabbitmq["tls"]["secretName"],
        mysql["tlsSecretName"],
        mysql["tlsCASecretName"],
        mysql["router"]["tlsSecretName"],
    }
    assert wanted == set(made)
    issuers = {one.name for one in manifests(STORES) if one.kind == "Issuer"}
    assert {one["issuerRef"]["name"] for one in made.values()} == issuers
    urls = settings_file(KUBERNETES / "overlays/example/secrets/stores.env")
    host = settings_file(KUBERNETES / "overlays/example/secrets/scaling.env")["host"]
    assert urlsplit(urls["TIDINGS_DATABASE_URL"]).hostname in made[mysql["router"]["tlsSecretName"]]["dnsNames"]
    assert urls["TIDINGS_DATABASE_URL"].endswith(f"?ssl_ca={AUTHORITY}")
    assert urlsplit(urls["TIDINGS_BROKER_URL"]).hostname in made["rabbitmq-tls"]["dnsNames"]
    assert (urlsplit(host).scheme, urlsplit(host).port) == ("https", 15671)


def test_a_broker_is_verified_with_its_own_ca(tmp_path: Path) -> None:
    """The example's URL, as it is written, but for the place of the file."""
    url = settings_file(KUBERNETES / "overlays/example/secrets/stores.env")["TIDINGS_BROKER_URL"]
    certificate, _ = self_signed(tmp_path)
    made = parameters(load(BrokerSettings, {"TIDINGS_BROKER_URL": url.replace(AUTHORITY, str(certificate))}))
    assert made.ssl_options.context.verify_mode is ssl.CERT_REQUIRED
    assert made.ssl_options.context.check_hostname is True
    assert len(made.ssl_options.context.get_ca_certs()) == 1


AUTHORITY = "/etc/tidings/authority/ca.crt"


@pytest.mark.parametrize("folder", [BASE, KNATIVE], ids=str)
def test_each_container_that_connects_to_the_stores_has_their_ca(folder: Path) -> None:
    patches = kustomizations()[KUBERNETES / "components" / "authority"]["patches"]
    asking = [one for one in workloads(folder) if pod(one)["metadata"]["labels"].get("tidings.dev/asks")]
    assert asking
    for one in asking:
        patched = one.content
        for patch in patches:
            target = patch["target"]
            named_so = re.fullmatch(target.get("name", ".*"), one.name)
            role = target.get("labelSelector", "=").partition("=")
            labelled = not role[2] or one.content["metadata"].get("labels", {}).get(role[0]) == role[2]
            if target["kind"] == one.kind and named_so and labelled:
                patched = jsonpatch.apply_patch(patched, YAML(typ="safe").load(patch["patch"]))
        spec = patched["spec"]["template"]["spec"]
        assert {"name": "authority", "configMap": {"name": "authority"}} in spec["volumes"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "authority"]
            assert [mount["mountPath"] for mount in mounts] == [str(Path(AUTHORITY).parent)], one


def connections_at_most() -> int:
    """All pods that there may be during a rolling update, each process with its pool full."""
    intake = named(BASE, "HorizontalPodAutoscaler", "intake")["spec"]["maxReplicas"] + 1
    replay = named(BASE, "Deployment", "replay")["spec"]["replicas"] + 1
    channels = [named(BASE, "ScaledObject", channel)["spec"]["maxReplicaCount"] + 1 for channel in CHANNELS]
    receipts = named(BASE, "HorizontalPodAutoscaler", "receipts")["spec"]["maxReplicas"] + 1
    return int((intake + replay + receipts + 2 * sum(channels)) * load(DatabaseSettings, {}).database_pool)
