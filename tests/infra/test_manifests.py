"""Every manifest matches its schema, down to the last field; every kustomization lists all its files."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.infra.manifests import (
    CLOUD_RUN,
    FUNCTIONS,
    KUBERNETES,
    NOT_APPLIED,
    Manifest,
    all_containers,
    containers,
    function_of,
    kustomizations,
    manifests,
    settings_file,
    workloads,
)

SCHEMAS = Path(__file__).parent / "schemas"
OLDEST, NEWEST = "1.29", "1.37"
"""Of Kubernetes: native sidecars are on by default since 1.29; the newest that the package has the schemas of."""

EXAMPLE = KUBERNETES / "overlays" / "example"

# What is used of resources whose schemas are not here. From the CRDs of RabbitMQ's cluster-operator v2.22.3, MySQL's
# mysql-operator 9.1, cert-manager's v1 and Knative's eventing-rabbitmq 1.23, against which these manifests were checked
# by hand, closed.
FIELDS = {
    "RabbitmqCluster": {
        "replicas", "image", "terminationGracePeriodSeconds", "resources", "persistence", "tls", "rabbitmq", "affinity",
    },
    "InnoDBCluster": {
        "secretName", "tlsSecretName", "tlsCASecretName", "instances", "router", "datadirVolumeClaimTemplate",
        "backupSchedules", "podSpec", "mycnf",
    },
    "Issuer": {"selfSigned", "ca"},
    "Certificate": {
        "isCA", "commonName", "dnsNames", "secretName", "duration", "renewBefore", "privateKey", "issuerRef",
    },
    "RabbitmqSource": {"rabbitmqClusterReference", "rabbitmqResourcesConfig", "delivery", "sink"},
}  # fmt: skip


def schema_of(kind: str) -> dict[str, Any] | None:
    for file in SCHEMAS.glob("*.json"):
        if (found := json.loads(file.read_text()).get(kind)) is not None:
            return dict(found)
    return None


def check(manifest: Manifest, version: str = NEWEST) -> None:
    """Raise ValidationError, or AssertionError where only its fields are known."""
    group = manifest.content["apiVersion"].partition("/")[0]
    if manifest.kind in FIELDS:
        assert set(manifest.content) == {"apiVersion", "kind", "metadata", "spec"}
        assert set(manifest.content["spec"]) <= FIELDS[manifest.kind]
    elif group in ("keda.sh", "serving.knative.dev"):
        schema = schema_of(manifest.kind)
        assert schema is not None, manifest
        jsonschema.Draft202012Validator(schema).validate(manifest.content)
    else:
        kubernetes_validate.validate(manifest.content, version, strict=True)


ALL = manifests(KUBERNETES)
OURS = [one for one in ALL if one.kind not in FIELDS]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", ALL, ids=str)
def test_it_keeps_to_its_schema(manifest: Manifest, version: str) -> None:
    check(manifest, version)


@pytest.mark.parametrize("manifest", OURS, ids=str)
def test_an_unknown_field_is_found(manifest: Manifest) -> None:
    """A cluster would drop it silently."""
    spoiled = copy.deepcopy(manifest.content)
    spoiled.get("spec", spoiled)["terminationGracePeriod"] = 120
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(Manifest(manifest.file, spoiled))


def test_there_is_something_to_check() -> None:
    kinds = {one.kind for one in ALL}
    assert kinds >= {"Deployment", "Job", "PodDisruptionBudget", "NetworkPolicy", "ScaledObject", "Service"}
    assert len(ALL) > 40


def test_no_two_resources_that_are_applied_together_have_the_same_name() -> None:
    for folder in ("base", "stores", "components/knative"):
        names = [(one.kind, one.name) for one in manifests(KUBERNETES / folder)]
        assert len(set(names)) == len(names)


# --- kustomizations ---------------------------------------------------------------------------------------------------

KEYS = {
    "apiVersion", "kind", "namespace", "labels", "resources", "components", "patches", "images", "configMapGenerator",
    "secretGenerator", "generatorOptions",
}  # fmt: skip


@pytest.mark.parametrize("folder", kustomizations(), ids=lambda folder: str(folder.relative_to(KUBERNETES)))
def test_a_kustomization_lists_exactly_its_files(folder: Path) -> None:
    content = kustomizations()[folder]
    assert set(content) <= KEYS
    listed = [*content.get("resources", []), *content.get("components", [])]
    assert all((folder / path).exists() for path in listed)
    lying = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml", *NOT_APPLIED}
    assert lying == {path for path in listed if path.endswith(".yaml")}


def test_the_example_names_exactly_the_images_used() -> None:
    images = kustomizations()[EXAMPLE]["images"]
    asked = {container["image"] for one in workloads(KUBERNETES) for container in containers(one)}
    assert asked == {image["name"] for image in images}
    assert all(image["newName"] == f"registry.example.com/{image['name']}" for image in images)
    (tag,) = {image["newTag"] for image in images}
    assert re.fullmatch(r"\d+\.\d+\.\d+", tag)


@pytest.mark.parametrize(("one", "container"), all_containers(), ids=lambda value: getattr(value, "name", ""))
def test_a_function_runs_from_its_own_image(one: Manifest, container: dict[str, Any]) -> None:
    """An image holds one function (local/Dockerfile). tests/local/test_image.py starts the commands in them."""
    if function_of(container) == "bounces":  # the layer with its extra `bounces`, whatever the function
        assert container["args"][2] == "tidings.runtime.bounces"
        return
    assert function_of(container) in FUNCTIONS, container["image"]
    if container["args"][2] == "tidings.runtime.server":
        assert container["args"][3] == function_of(container)


def references(kind: str) -> set[str]:
    """Of pods, to what gives them settings."""
    return {
        source[kind]["name"]
        for folder in ("base", "components/metrics")
        for one in workloads(KUBERNETES / folder)
        for container in containers(one)
        for source in container.get("envFrom", [])
        if kind in source
    }


def test_the_example_creates_exactly_the_secrets_used() -> None:
    made = {secret["name"]: secret for secret in kustomizations()[EXAMPLE]["secretGenerator"]}
    asked_by_keda = {
        reference["name"]: reference["key"]
        for one in ALL
        if one.kind == "TriggerAuthentication"
        for reference in one.content["spec"]["secretTargetRef"]
    }
    assert set(made) == references("secretRef") | set(asked_by_keda)
    for name, secret in made.items():
        (path,) = secret["envs"]
        given = settings_file(EXAMPLE / path)
        assert any("CHANGE-ME" in value for value in given.values())
        # Kustomize does not rename what a custom resource refers to.
        assert secret.get("options", {}).get("disableNameSuffixHash", False) == (name in asked_by_keda)
        assert name not in asked_by_keda or asked_by_keda[name] in given


def test_every_config_map_used_is_created() -> None:
    (made,) = kustomizations()[KUBERNETES / "base"]["configMapGenerator"]
    assert references("configMapRef") == {made["name"]}


def test_the_first_stage_is_all_that_the_migration_needs() -> None:
    """`kubectl apply --selector tidings.dev/stage=first`, and then the rest."""
    first = {(one.kind, one.name) for one in manifests(KUBERNETES / "base") if is_first(one)}
    assert first == {
        ("Namespace", "tidings"),
        ("ServiceAccount", "tidings"),
        ("Job", "migrate"),
        ("NetworkPolicy", "default-deny"),
        ("NetworkPolicy", "names"),
        ("NetworkPolicy", "stores"),
    }
    assert kustomizations()[EXAMPLE]["generatorOptions"]["labels"] == {"tidings.dev/stage": "first"}


def is_first(one: Manifest) -> bool:
    return bool(one.content["metadata"].get("labels", {}).get("tidings.dev/stage") == "first")


# --- Cloud Run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifest", manifests(CLOUD_RUN), ids=str)
def test_the_knative_part_of_cloud_run_manifests_matches_its_schema(manifest: Manifest) -> None:
    """A WorkerPool's template is a Service's, and so is a Job's once more inside. (By hand, all of them were read by
    the classes of gcloud 528, which are strict.)"""
    content = manifest.content
    assert set(content) == {"apiVersion", "kind", "metadata", "spec"}
    template = content["spec"]["template"]
    if manifest.kind == "Job":
        assert set(template["spec"]) == {"taskCount", "template"}
        inner = dict(template["spec"]["template"]["spec"])
        assert inner.pop("maxRetries") >= 0
        template = {"spec": {**inner, "timeoutSeconds": int(inner["timeoutSeconds"])}}
    service: dict[str, Any] = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "x"},
        "spec": {"template": template},
    }
    check(Manifest(manifest.file, service))
    spoiled = copy.deepcopy(service)
    spoiled["spec"]["template"]["spec"]["containers"][0]["argz"] = []
    with pytest.raises(jsonschema.ValidationError):
        check(Manifest(manifest.file, spoiled))
