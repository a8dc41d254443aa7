"""local/compose.yaml: valid, reproducible, closed to the network, and consistent with the tree. Needs no engine;
tests/local/test_image.py runs the containers' commands."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tidings.domain.channels import CHANNELS
from tidings.domain.timing import ANSWER_WITHIN, SWEEP_FOR
from tidings.runtime.bounces import listener
from tidings.runtime.server import DRAIN

from local.services import docker
from tests.local.dockerfile import Dockerfile, context
from tests.settings_page import settings_classes

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "local" / "compose.yaml"
DOCKERFILE = Dockerfile.read(ROOT / "local" / "Dockerfile")
FUNCTIONS = {"intake", "replay", "receipts", *CHANNELS}
NO_SETTINGS = {"OTEL_EXPORTER_OTLP_ENDPOINT"}
"""Of OpenTelemetry."""
SHIPPED = {".py", ".typed", ".toml", ".txt", ".html", ".css", ".js", ".md", ".json", ".svg"}
"""Suffixes of code and pages. Keys and databases have others."""


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services by name, with YAML merges resolved."""
    loaded: dict[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE)["services"]
    return loaded


def commands(services: dict[str, dict[str, Any]]) -> list[str]:
    """The commands of our containers; the emulator's entrypoint has options only."""
    emulator = " ".join(DOCKERFILE.entrypoint("emulator"))
    return [
        service["command"] if service["command"].startswith("python ") else f"{emulator} {service['command']}"
        for service in ours(services)
        if "command" in service
    ]


def help_of(module: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def ours(services: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (service for service in services.values() if "build" in service)


def test_it_keeps_to_the_compose_specification() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_image_has_a_version(services: dict[str, dict[str, Any]]) -> None:
    images = [service["image"] for service in services.values() if "build" not in service]
    assert len(images) >= 5
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_every_port_is_open_to_this_machine_alone(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) >= 6
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{TIDINGS_LOCAL_[A-Z]+_PORT:-\d+\}:\d+", port)


def test_no_two_services_want_the_same_port(services: dict[str, dict[str, Any]]) -> None:
    wanted = [port.rpartition(":")[0] for service in services.values() for port in service.get("ports", [])]
    assert len(set(wanted)) == len(wanted)


def test_every_variable_has_a_default() -> None:
    assert re.findall(r"(?<!\$)\$\{?\w+\}", COMPOSE.read_text()) == []


def test_every_dependency_exists_and_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for name, awaited in service.get("depends_on", {}).items():
            assert ("healthcheck" in services[name]) == (awaited["condition"] == "service_healthy")


def test_services_start_in_the_order_of_their_dependencies(services: dict[str, dict[str, Any]]) -> None:
    """Servers, migration, functions, triggers and schedule."""

    def before(name: str) -> set[str]:
        awaited = set(services[name].get("depends_on", {}))
        return awaited.union(*(before(other) for other in awaited))

    assert before("migrate") == {"mysql"}
    for function in FUNCTIONS:
        assert {"mysql", "rabbitmq", "migrate"} <= before(function)
    for channel in CHANNELS:
        assert channel in before(f"trigger-{channel}")
    assert "replay" in before("schedule")
    assert before("grafana") >= {"prometheus", "intake", "replay"}


def test_every_http_service_has_a_health_check(services: dict[str, dict[str, Any]]) -> None:
    """Triggers and the schedule serve no requests: they end when they fail, and are restarted."""
    assert {name for name, service in services.items() if "healthcheck" not in service} == {
        "migrate",
        "schedule",
        *(f"trigger-{channel}" for channel in CHANNELS),
    }


def test_our_containers_are_unprivileged_and_read_only(services: dict[str, dict[str, Any]]) -> None:
    for service in ours(services):
        assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"])
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert "privileged" not in service
        assert "user" not in service  # the image's


def test_no_service_gains_rights_or_fills_the_disk_with_its_log(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


def test_every_function_runs_from_its_own_image(services: dict[str, dict[str, Any]]) -> None:
    assert {path.parent.name for path in (ROOT / "functions").glob("*/main.py")} == FUNCTIONS
    for function in FUNCTIONS:
        service = services[function]
        assert (service["image"], service["build"]["args"]) == (f"tidings-{function}:local", {"FUNCTION": function})
        assert "command" not in service
    for image in {service["image"] for service in ours(services)}:
        builds = [service["build"] for service in ours(services) if service["image"] == image]
        assert [build for build in builds if build != builds[0]] == []


def test_a_trigger_runs_from_its_functions_image(services: dict[str, dict[str, Any]]) -> None:
    for channel in CHANNELS:
        assert services[f"trigger-{channel}"]["image"] == services[channel]["image"]
    assert services["schedule"]["image"] == services["replay"]["image"]


def test_every_setting_given_is_one(services: dict[str, dict[str, Any]]) -> None:
    settings = {cls.variable(name) for cls in settings_classes() for name in cls.model_fields}
    given = {name for service in ours(services) for name in service.get("environment", {})}
    assert given - settings == NO_SETTINGS


def test_prometheus_scrapes_every_function(services: dict[str, dict[str, Any]]) -> None:
    for function in FUNCTIONS:
        given = services[function]["environment"]
        assert given["TIDINGS_METRICS"] == "${TIDINGS_METRICS:-off}"
        assert given["TIDINGS_TRACING"] == "${TIDINGS_TRACING:-off}"


def test_every_mounted_file_exists(services: dict[str, dict[str, Any]]) -> None:
    loaded = YAML(typ="safe").load(COMPOSE)
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE.parent / source).is_file() if "/" in source else source in loaded["volumes"]
        assert {config["source"] for config in service.get("configs", [])} <= set(loaded["configs"])


def test_prometheus_finds_what_its_configuration_names(services: dict[str, dict[str, Any]]) -> None:
    configured = YAML(typ="safe").load(ROOT / "infra/observability/prometheus.yaml")
    mounted = {config["target"] for config in services["prometheus"]["configs"]}
    jobs = configured["scrape_configs"]
    assert {job["authorization"]["credentials_file"] for job in jobs} == mounted
    targets = {target for job in jobs for static in job["static_configs"] for target in static["targets"]}
    assert targets == {f"{name}:8080" for name in (*FUNCTIONS, "bounces")}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_exists(function: str) -> None:
    assert (ROOT / "functions" / function / "main.py").is_file()


def test_every_channel_has_its_trigger(services: dict[str, dict[str, Any]]) -> None:
    triggers = [command.split()[3:] for command in commands(services) if "tidings.runtime.trigger" in command]
    assert sorted(triggers) == sorted([f"{channel}=http://{channel}:8080"] for channel in CHANNELS)


def test_every_grace_period_covers_the_work_under_way(services: dict[str, dict[str, Any]]) -> None:
    """Compose kills after 10 s by default."""

    def grace(name: str) -> int:
        return int(services[name].get("stop_grace_period", "10s").removesuffix("s"))

    assert all(grace(function) > DRAIN for function in FUNCTIONS)
    assert all(grace(f"trigger-{channel}") > ANSWER_WITHIN.total_seconds() for channel in CHANNELS)
    assert grace("bounces") > listener.DRAIN
    assert grace("schedule") > SWEEP_FOR.total_seconds()


@pytest.mark.parametrize(
    "module", ["tidings.runtime.server", "local.emulators", "tidings.runtime.scheduler", "tidings.runtime.trigger"]
)
def test_every_command_of_ours_exists_and_has_the_options_given(
    services: dict[str, dict[str, Any]], module: str
) -> None:
    known = [command for command in commands(services) if command.split()[2] == module]
    assert known or module == "tidings.runtime.server"
    told = help_of(module)
    for command in known:
        assert [option for option in command.split() if option.startswith("--") and option not in told] == []


def test_no_other_command_is_run(services: dict[str, dict[str, Any]]) -> None:
    named = {tuple(command.split()[:3]) for command in commands(services)}
    runtime = ("tidings.runtime.trigger", "tidings.runtime.scheduler", "tidings.runtime.bounces")
    modules = (*runtime, "local.emulators", "tidings.migrate")
    assert named == {("python", "-m", module) for module in modules}
    assert importlib.util.find_spec("tidings.migrate") is not None


def test_local_up_finds_its_services_and_their_settings(services: dict[str, dict[str, Any]]) -> None:
    text = json.dumps([services[name] for name in docker.SERVICES])
    for setting in ("MYSQL_PORT", "RABBITMQ_PORT", "MANAGEMENT_PORT", "PASSWORD"):
        assert f"TIDINGS_LOCAL_{setting}" in text


def test_the_base_image_is_pinned_by_digest() -> None:
    (pinned,) = DOCKERFILE.arguments
    assert re.fullmatch(r"PYTHON=python:3\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", pinned.arguments)
    names = {stage.name for stage in DOCKERFILE.stages}
    assert {stage.base for stage in DOCKERFILE.stages} - names == {"${PYTHON}"}


def test_packages_are_installed_by_their_hashes_alone() -> None:
    installs = [
        step.arguments
        for _, step in DOCKERFILE.steps("RUN")
        if " install " in step.arguments and "pip" in step.arguments
    ]
    assert len(installs) == 2
    assert [step for step in installs if "--require-hashes" not in step or "--only-binary :all:" not in step] == []


def test_the_dockerignore_allows_exactly_the_copied_files(tmp_path: Path) -> None:
    context(ROOT, ROOT / "local/Dockerfile.dockerignore", tmp_path)
    copied = {
        source.replace("${FUNCTION}", function)
        for _, step in DOCKERFILE.steps("COPY")
        for source in step.arguments.split()[:-1]
        for function in FUNCTIONS
        if "--from" not in step.arguments
    }
    assert [source for source in copied if not (tmp_path / source).exists()] == []
    let_through = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert [path for path in let_through if not any(f"{path}/".startswith(f"{source}/") for source in copied)] == []
    assert [path for path in let_through if Path(path).suffix not in SHIPPED and path != "requirements.lock"] == []


def test_no_image_runs_as_root_and_its_user_is_a_number() -> None:
    last = {stage.name: step.arguments for stage, step in DOCKERFILE.steps("USER")}
    assert last == {"emulator": "10001:10001", "function": "10001:10001"}
    assert DOCKERFILE.stages[-1].name == "function"


class TestEntrypoint:
    def test_without_a_command_it_runs_the_function(self, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "$@"\n')
        python.chmod(0o755)
        told = self.run(FUNCTION="sms", PATH=f"{tmp_path}:/usr/bin:/bin")
        assert told == "-m tidings.runtime.server sms --host 0.0.0.0 --port 8080"

    def test_a_command_is_run_as_it_is(self) -> None:
        assert self.run("echo", "a  b", "$HOME", FUNCTION="sms", PATH="/usr/bin:/bin") == "a  b $HOME"

    @staticmethod
    def run(*arguments: str, **environment: str) -> str:
        command = [*DOCKERFILE.entrypoint("function"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
