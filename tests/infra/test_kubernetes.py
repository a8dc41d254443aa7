"""The pods on Kubernetes are unprivileged, and have time to finish the work under way."""

import re

import pytest
from tidings.adapters.sql.database import DatabaseSettings
from tidings.api.receipts import RECEIPT
from tidings.api.unsubscribe import OPT_OUT
from tidings.config.settings import load
from tidings.domain.channels import CHANNELS
from tidings.domain.timing import ANSWER_WITHIN
from tidings.runtime.server import DRAIN

from tests.infra.manifests import (
    BASE,
    KUBERNETES,
    LOOPBACK,
    POD_IP,
    ROOT,
    Manifest,
    Resource,
    containers,
    kustomizations,
    listens_at,
    manifests,
    named,
    pod,
    spec_of,
    workloads,
)

PREFERRED = 5.0  # seconds of preStop, in which proxies hear that a pod is leaving

every_workload = pytest.mark.parametrize("workload", workloads(KUBERNETES), ids=str)
every_channel = pytest.mark.parametrize("channel", CHANNELS)


@every_workload
def test_a_pod_is_unprivileged_and_read_only(workload: Manifest) -> None:
    """The profile `restricted`, and more: a root file system that is read-only, no token of Kubernetes' API."""
    spec = pod(workload)["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": uid_of_the_image(),
        "runAsGroup": uid_of_the_image(),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False  # these would be dozens of variables
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all(set(volume) == {"name", "emptyDir"} for volume in spec.get("volumes", []))
    for container in containers(workload):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}  # no CPU limit: it would only slow the pod down


def uid_of_the_image() -> int:
    found = re.search(r"useradd .*--uid (\d+)", (ROOT / "local" / "Dockerfile").read_text())
    assert found is not None
    return int(found[1])


def test_the_namespace_enforces_the_restricted_profile() -> None:
    labels = named(BASE, "Namespace", "tidings")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert named(BASE, "ServiceAccount", "tidings")["automountServiceAccountToken"] is False


@every_workload
def test_no_manifest_contains_a_secret(workload: Manifest) -> None:
    listed = [variable for container in containers(workload) for variable in container.get("env", [])]
    assert all("secretKeyRef" in variable["valueFrom"] for variable in listed if "value" not in variable)
    given = {variable["name"]: variable for variable in listed if "value" in variable}
    assert set(given) <= {"TIDINGS_DATABASE_TIMEOUT", "TIDINGS_CLOUDEVENTS"}
    for folder in kustomizations().values():
        for made in folder.get("configMapGenerator", []):
            assert not [line for line in made.get("literals", []) if re.search("URL|KEY|TOKEN|SECRET|ACCOUNT", line)]


@every_channel
def test_a_pod_gets_only_the_secrets_it_needs(channel: str) -> None:
    function, trigger = spec_of(channel)["initContainers"][0], spec_of(channel)["containers"][0]
    reported = {"receipts"} if channel != "webhook" else set()  # whose receiver's answer is all that there is
    assert secrets_of(function) == {"stores", "trigger", channel, *reported}
    assert secrets_of(trigger) == {"stores", "trigger"}
    for name in ("intake", "replay"):
        (container,) = named(BASE, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        # The sweep, in replay, asks Twilio for missing receipts.
        assert secrets_of(container) == {"stores", "keys"} | (
            {"webhook", "sms", "proof"} if name == "replay" else set()
        )


def test_receipts_gets_the_database_and_no_broker() -> None:
    (container,) = named(BASE, "Deployment", "receipts")["spec"]["template"]["spec"]["containers"]
    assert secrets_of(container) == {"keys", "receipts", "sms"}
    by_key = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"]}
    assert by_key == {"TIDINGS_DATABASE_URL": {"name": "stores", "key": "TIDINGS_DATABASE_URL"}}


def test_the_public_ingresses_lead_to_intake_and_to_two_paths_of_receipts_alone() -> None:
    """Of receipts neither the probes nor the metrics are public."""
    paths = {
        one.name: [
            (path["path"], path["pathType"], path["backend"]["service"]["name"])
            for rule in one.content["spec"]["rules"]
            for path in rule["http"]["paths"]
        ]
        for one in manifests(KUBERNETES / "overlays" / "example")
        if one.kind == "Ingress"
    }
    public = [(one.path.partition("{")[0], "Prefix", "receipts") for one in (RECEIPT, OPT_OUT)]
    assert paths == {"intake": [("/v1/", "Prefix", "intake")], "receipts": public}


def secrets_of(container: Resource) -> set[str]:
    return {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}


# --- a channel's pod --------------------------------------------------------------------------------------------------


def test_channels_differ_only_in_their_name() -> None:
    texts = {channel: (BASE / f"{channel}.yaml").read_text() for channel in CHANNELS}
    reports = (
        "            - secretRef: {name: receipts, optional: true} # without it the provider is not asked to report\n"
    )
    own = "            - secretRef: {name: webhook}\n"
    texts["webhook"] = texts["webhook"].replace(own, own + reports)
    assert len({re.sub(rf"\b{channel}\b", "CHANNEL", text) for channel, text in texts.items()}) == 1


@every_channel
def test_the_function_starts_before_its_trigger_and_stops_after_it(channel: str) -> None:
    """A native sidecar: it has started before the containers start, and is stopped when they have ended."""
    (function,), (trigger,) = spec_of(channel)["initContainers"], spec_of(channel)["containers"]
    assert function["restartPolicy"] == "Always"
    assert function["args"][:4] == ["python", "-m", "tidings.runtime.server", channel]
    assert {"startupProbe", "livenessProbe"} <= set(function)
    port = function["args"][-1]
    assert trigger["args"] == ["python", "-m", "tidings.runtime.trigger", f"{channel}=http://{LOOPBACK}:{port}"]


@every_channel
def test_the_grace_period_covers_the_batch_and_the_functions_stop(channel: str) -> None:
    assert spec_of(channel)["terminationGracePeriodSeconds"] >= ANSWER_WITHIN.total_seconds() + DRAIN


@pytest.mark.parametrize(
    "one",
    [one for one in workloads(KUBERNETES) if one.name in ("intake", "replay", "receipts", "email-events")],
    ids=str,
)
def test_a_pod_behind_a_service_has_time_to_leave_it_and_to_drain(one: Manifest) -> None:
    (container,) = containers(one)
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", f"{PREFERRED:g}"]
    assert pod(one)["spec"]["terminationGracePeriodSeconds"] > PREFERRED + DRAIN
    assert listens_at(container) == POD_IP
    assert container["ports"] == [{"name": "http", "containerPort": int(container["args"][-1])}]


@pytest.mark.parametrize("name", ["intake", "replay", "receipts"])
def test_a_database_outage_neither_removes_nor_restarts_a_pod(name: str) -> None:
    """All pods are affected, and answer 503 with Retry-After. Only a new pod must reach it once."""
    (container,) = named(BASE, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/healthz", "livenessProbe": "/healthz"}
    assert container["startupProbe"]["timeoutSeconds"] > load(DatabaseSettings, {}).database_timeout
