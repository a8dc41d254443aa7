"""local/compose.yaml and local/Dockerfile: valid, reproducible, closed to the network, and true to the tree."""

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
from tidings.topology import CHANNELS

from local.services import docker

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "local" / "compose.yaml"
DOCKERFILE = (ROOT / "local" / "Dockerfile").read_text
FUNCTIONS = {"intake", "replay", *CHANNELS}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services, by name; YAML's merges are resolved."""
    loaded: dict[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE)["services"]
    return loaded


def commands(services: dict[str, dict[str, Any]]) -> list[str]:
    return [service["command"] for service in ours(services) if "command" in service]


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
    images += re.findall(r"^FROM (\S+:\S+)", DOCKERFILE(), flags=re.MULTILINE)
    assert len(images) >= 4
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


def test_whoever_is_waited_for_exists_and_says_when_it_is_ready(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for name, awaited in service.get("depends_on", {}).items():
            assert ("healthcheck" in services[name]) == (awaited["condition"] == "service_healthy")


def test_every_function_runs(services: dict[str, dict[str, Any]]) -> None:
    run = {
        service["environment"]["FUNCTION"] for service in ours(services) if "FUNCTION" in service.get("environment", {})
    }
    assert run == FUNCTIONS


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_every_function_exists(function: str) -> None:
    assert (ROOT / "functions" / function / "main.py").is_file()


def test_every_channel_has_its_trigger(services: dict[str, dict[str, Any]]) -> None:
    triggers = [command.split()[3:] for command in commands(services) if "local.trigger" in command]
    assert sorted(triggers) == sorted([f"{channel}=http://{channel}:8080"] for channel in CHANNELS)


@pytest.mark.parametrize("module", ["local.function", "local.providers", "local.schedule", "local.trigger"])
def test_every_command_of_ours_exists_and_has_the_options_given(
    services: dict[str, dict[str, Any]], module: str
) -> None:
    known = [command for command in commands(services) if command.split()[2] == module]
    assert known or module == "local.function"
    told = help_of(module)
    for command in known:
        assert [option for option in command.split() if option.startswith("--") and option not in told] == []


def test_no_other_command_is_run(services: dict[str, dict[str, Any]]) -> None:
    named = {tuple(command.split()[:3]) for command in commands(services)}
    modules = ("local.trigger", "local.schedule", "local.providers", "tidings.migrate")
    assert named == {("python", "-m", module) for module in modules}
    assert importlib.util.find_spec("tidings.migrate") is not None


def test_local_up_finds_its_services_and_their_settings(services: dict[str, dict[str, Any]]) -> None:
    text = json.dumps([services[name] for name in docker.STARTED])
    for setting in ("MYSQL_PORT", "RABBITMQ_PORT", "MANAGEMENT_PORT", "PASSWORD"):
        assert f"TIDINGS_LOCAL_{setting}" in text


def test_what_the_image_copies_exists() -> None:
    copied = [line.split()[1] for line in DOCKERFILE().splitlines() if re.match(r"COPY (?!--from)", line)]
    assert copied == ["requirements.lock", "layers/common", "functions", "infra/migrations", "local"]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert {f"!{path}" for path in copied} <= set((ROOT / "local/Dockerfile.dockerignore").read_text().split("\n"))


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\S+)", DOCKERFILE(), flags=re.MULTILINE)[-1:] == ["tidings"]


class TestEntrypoint:
    def test_without_a_command_it_runs_the_function(self, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "$@"\n')
        python.chmod(0o755)
        told = self.run(FUNCTION="sms", PATH=f"{tmp_path}:/usr/bin:/bin")
        assert told == "-m local.function sms --host 0.0.0.0 --port 8080"

    def test_a_command_is_run_as_it_is(self) -> None:
        assert self.run("echo", "a  b", "$HOME", FUNCTION="sms", PATH="/usr/bin:/bin") == "a  b $HOME"

    @staticmethod
    def run(*arguments: str, **environment: str) -> str:
        entrypoint = re.search(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE(), flags=re.MULTILINE)
        assert entrypoint is not None
        command = [*json.loads(entrypoint[1]), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
