"""What the manifests for Kubernetes promise of a pod: it is nobody and has nothing, and what is under way in it comes
to its end."""

import re

import pytest
from tidings.adapters.sql.database import DatabaseSettings
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
    named,
    pod,
    spec_of,
    workloads,
)

PREFERRED = 5.0  # seconds of preStop, in which proxies hear that a pod is leaving

every_workload = pytest.mark.parametrize("workload", workloads(KUBERNETES), ids=str)
every_channel = pytest.mark.parametrize("channel", CHANNELS)


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
            assert not [line for line in made.get("literals", []) if re.search("URL|KEY|TOKEN|SECRET|ACCOUNT", line)]


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
    assert function["args"][:4] == ["python", "-m", "tidings.runtime.server", channel]
    assert {"startupProbe", "livenessProbe"} <= set(function)
    port = function["args"][-1]
    assert trigger["args"] == ["python", "-m", "tidings.runtime.trigger", f"{channel}=http://{LOOPBACK}:{port}"]


@every_channel
def test_there_is_time_for_the_batch_under_way_and_for_the_functions_end(channel: str) -> None:
    assert spec_of(channel)["terminationGracePeriodSeconds"] >= ANSWER_WITHIN.total_seconds() + DRAIN


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
