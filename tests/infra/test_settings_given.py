"""Each manifest gives each function the settings that it reads, and no secret that it does not read.

A setting that is missing in a manifest shows in no other test: most are a part of Tidings that is silently off.
"""

import re
from collections.abc import Iterator, Mapping

import pytest
from ruamel.yaml import YAML

from tests.infra.cloudformation import environment
from tests.infra.manifests import (
    BASE,
    CLOUD_RUN,
    FUNCTIONS,
    KUBERNETES,
    ROOT,
    Manifest,
    Resource,
    every_container,
    function_of,
    kustomizations,
    manifests,
    settings_file,
    workloads,
)
from tests.infra.settings_read import settings_read

EXAMPLE = KUBERNETES / "overlays" / "example"

NOT_GIVEN: Mapping[str, str] = {
    "TIDINGS_RECEIPTS_PREVIOUS_SECRETS": "only while the secret is changed",
    "TIDINGS_SMTP_CA_FILE": "the system's authorities",
    "TIDINGS_SMTP_EHLO_NAME": "only some servers demand it",
    "TIDINGS_SMTP_MESSAGE_ID_DOMAIN": "the sender's",
    "TIDINGS_SMTP_RETURN_PATH": "needs a domain whose mail comes back: docs/receipts.md#email",
    "TIDINGS_TWILIO_PREVIOUS_AUTH_TOKEN": "only while the token is changed",
    "TIDINGS_WEBHOOKS_PREVIOUS_SECRET": "only while the secret is changed",
    "TIDINGS_WEBHOOKS_VIA": "for tests",
}
"""Settings without a default that no manifest has to give, with the reason."""

NOT_GIVEN_TO: Mapping[tuple[str, str], str] = {
    ("receipts", "TIDINGS_BROKER_URL"): "it publishes nothing: the sweep does",
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_aws_gives_it_what_it_reads(function: str) -> None:
    read = settings_read("aws")[function]
    names = ["replay", "sweep"] if function == "replay" else [function]
    for name in names:
        compare("infra/aws/template.yaml", name, function, read, {k for k, v in environment(name).items() if v})


@pytest.mark.parametrize("function", FUNCTIONS)
def test_cloud_run_gives_it_what_it_reads(function: str) -> None:
    """Its metrics are Cloud Run's own."""
    ((one, container),) = servers(function, manifests(CLOUD_RUN))
    given = {variable["name"] for variable in container["env"]}
    compare(one, function, function, settings_read("cloudrun")[function], given)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_kubernetes_gives_it_what_it_reads(function: str) -> None:
    read = settings_read("kubernetes")[function]
    sources = given_by_sources()
    found = list(servers(function, workloads(KUBERNETES)))
    assert [one for one, _ in found if one.file.parent == BASE]
    for one, container in found:
        given = {variable["name"] for variable in container.get("env", [])}
        for source in container["envFrom"]:
            ((kind, reference),) = source.items()
            names = sources[reference["name"]]
            assert kind == "configMapRef" or names & set(read), f"{one}: the secret {reference['name']} is not read"
            # A secret is given whole. Its names that are no secrets of themselves do no harm.
            given |= names
        compare(one, function, function, read, given)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_compose_gives_it_what_it_reads(function: str) -> None:
    service = YAML(typ="safe").load(ROOT / "local/compose.yaml")["services"][function]
    compare(
        "local/compose.yaml", function, function, settings_read("kubernetes")[function], set(service["environment"])
    )


def test_every_exception_is_of_a_setting_that_some_function_reads() -> None:
    read = {name for settings in settings_read("kubernetes").values() for name in settings}
    assert set(NOT_GIVEN) <= read
    assert all(name in settings_read("kubernetes")[function] for function, name in NOT_GIVEN_TO)


def compare(where: object, part: str, function: str, read: Mapping[str, Mapping[str, bool]], given: set[str]) -> None:
    needed = {name for name, setting in read.items() if setting["needed"]}
    needed -= {*NOT_GIVEN, *(name for of, name in NOT_GIVEN_TO if of == function)}
    missing = sorted(needed - given)
    assert not missing, f"{where}: {part} reads {missing} and does not get them (or name them in NOT_GIVEN)"
    secrets = {
        name for settings in settings_read("kubernetes").values() for name, one in settings.items() if one["secret"]
    }
    assert sorted(given & secrets - set(read)) == [], f"{where}: {part} gets secrets that it does not read"


def servers(function: str, found: list[Manifest]) -> Iterator[tuple[Manifest, Resource]]:
    """The containers that run it."""
    for one in found:
        for container in every_container(one):
            if function_of(container) == function and container["args"][2] == "tidings.runtime.server":
                yield one, container


def given_by_sources() -> dict[str, set[str]]:
    """The variables of each config map and secret, as in the example."""
    secrets = {one["name"]: one["envs"] for one in kustomizations()[EXAMPLE]["secretGenerator"]}
    found = {name: set(settings_file(EXAMPLE / path)) for name, (path,) in secrets.items()}
    for folder in kustomizations().values():
        for made in folder.get("configMapGenerator", []):
            found.setdefault(made["name"], set()).update(re.split("=", line)[0] for line in made.get("literals", []))
    return found
