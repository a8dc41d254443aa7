"""The manifests for Cloud Run. test_manifests checks their schemas, test_commands their commands."""

import re

import pytest
from tidings.api.health import ALIVE, READY
from tidings.config.settings import load
from tidings.domain.channels import CHANNELS
from tidings.runtime.container import RetentionSettings

from tests.infra.manifests import CLOUD_RUN, Resource, every_container, manifests, named

KILLED_AFTER = 10  # seconds from SIGTERM: https://cloud.google.com/run/docs/container-contract#instance-shutdown


def pool(channel: str) -> tuple[Resource, Resource]:
    """The function, and the trigger."""
    function, trigger = named(CLOUD_RUN, "WorkerPool", channel)["spec"]["template"]["spec"]["containers"]
    return function, trigger


def plain(container: Resource) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def test_every_part_has_a_manifest() -> None:
    assert {(one.kind, one.name) for one in manifests(CLOUD_RUN)} == {
        ("Job", "migrate"),
        ("Job", "bounces"),
        ("Service", "intake"),
        ("Service", "replay"),
        ("Service", "receipts"),
        ("WorkerPool", "sweep"),
        *(("WorkerPool", channel) for channel in CHANNELS),
    }


def test_no_manifest_contains_a_secret_and_all_run_one_release() -> None:
    found = [container for one in manifests(CLOUD_RUN) for container in every_container(one)]
    assert len({container["image"].rpartition(":")[2] for container in found}) == 1
    for container in found:
        found_in = {name for name in plain(container) if re.search("URL|KEY|TOKEN|SECRET|SERVICE_ACCOUNT", name)}
        assert found_in <= {"TIDINGS_RECEIPTS_URL"}  # which is public


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_channels_function_is_called_over_the_instances_loopback(channel: str) -> None:
    function, trigger = pool(channel)
    assert function["args"][2:] == ["tidings.runtime.server", channel, "--host", "127.0.0.1", "--port", "8080"]
    assert trigger["args"][2:] == ["tidings.runtime.trigger", f"{channel}=http://127.0.0.1:8080"]
    assert "ports" not in function


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_call_to_a_provider_ends_before_an_instance_is_killed(channel: str) -> None:
    function, trigger = pool(channel)
    (timeout,) = [float(value) for name, value in plain(function).items() if name.endswith("_TIMEOUT")]
    assert timeout < KILLED_AFTER
    assert int(plain(trigger)["TIDINGS_BATCH_SIZE"]) <= 20


@pytest.mark.parametrize("name", ["intake", "replay", "receipts"])
def test_no_probe_uses_a_path_reserved_by_cloud_run(name: str) -> None:
    """https://cloud.google.com/run/docs/known-issues: some that end in z. `/healthz` is one, users found."""
    (container,) = named(CLOUD_RUN, "Service", name)["spec"]["template"]["spec"]["containers"]
    paths = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")]
    assert paths == ["/ready", "/health"]
    assert set(paths) <= {*ALIVE, *READY}


def test_the_sweep_has_a_retention() -> None:
    (container,) = named(CLOUD_RUN, "Service", "replay")["spec"]["template"]["spec"]["containers"]
    retention = {RetentionSettings.variable(field) for field in RetentionSettings.model_fields} & set(plain(container))
    assert retention == {"TIDINGS_RETENTION_DAYS"}
    assert (
        load(RetentionSettings, {"TIDINGS_RETENTION_DAYS": plain(container)["TIDINGS_RETENTION_DAYS"]}).retention_days
        == 90
    )


def test_each_part_has_its_own_service_account_for_its_own_secrets() -> None:
    for one in manifests(CLOUD_RUN):
        spec = one.content["spec"]["template"]["spec"]
        account = spec["template"]["spec"] if one.kind == "Job" else spec
        assert account["serviceAccountName"] == f"tidings-{one.name}@PROJECT.iam.gserviceaccount.com"


def test_only_intake_and_receipts_are_open_to_the_internet() -> None:
    services = [one for one in manifests(CLOUD_RUN) if one.kind == "Service"]
    found = {one.name: one.content["metadata"]["annotations"]["run.googleapis.com/ingress"] for one in services}
    assert found == {"intake": "all", "receipts": "all", "replay": "internal"}


@pytest.mark.parametrize("channel", ["sms", "email", "push"])
def test_a_channel_names_the_address_of_receipts_and_both_have_the_same_secret(channel: str) -> None:
    (receipts,) = named(CLOUD_RUN, "Service", "receipts")["spec"]["template"]["spec"]["containers"]
    function, _ = pool(channel)
    shared = [
        [one for one in container["env"] if one["name"].startswith("TIDINGS_RECEIPTS_")]
        for container in (receipts, function)
    ]
    assert shared[0] == shared[1]
    assert len(shared[0]) == 2
    assert "TIDINGS_BROKER_URL" not in {one["name"] for one in receipts["env"]}  # it uses none
