"""Read the manifests below infra/; shared by their tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "infra" / "kubernetes"
BASE, KNATIVE = KUBERNETES / "base", KUBERNETES / "components" / "knative"
FUNCTIONS = sorted(main.parent.name for main in (ROOT / "functions").glob("*/main.py"))
CLOUD_RUN = ROOT / "infra" / "cloudrun"
KUSTOMIZE = ("Kustomization", "Component")
NOT_APPLIED = ("prometheus.yaml",)  # a piece of another program's configuration

LOOPBACK, POD_IP = "127.0.0.1", "0.0.0.0"

Resource = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """One document of one file."""

    file: Path
    content: Resource

    @property
    def kind(self) -> str:
        return str(self.content["kind"])

    @property
    def name(self) -> str:
        return str(self.content["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT / 'infra')}:{self.kind}:{self.name}"


@cache
def manifests(folder: Path) -> list[Manifest]:
    """Every resource below the folder, without kustomizations."""
    files = sorted(file for file in folder.rglob("*.yaml") if file.name not in NOT_APPLIED)
    found = [Manifest(file, content) for file in files for content in _read(file)]
    return [one for one in found if one.content["kind"] not in KUSTOMIZE]


@cache
def kustomizations() -> dict[Path, Resource]:
    """By their folder."""
    return {file.parent: _read(file)[0] for file in sorted(KUBERNETES.rglob("kustomization.yaml"))}


def _read(file: Path) -> list[Resource]:
    return list(yaml.load_all(file.read_bytes(), Loader=yaml.CSafeLoader))


def pod(manifest: Manifest) -> Resource:
    """The pod's template of a workload."""
    spec = manifest.content["spec"]
    template: Resource = spec["template"]
    return template


def workloads(folder: Path) -> list[Manifest]:
    return [one for one in manifests(folder) if one.kind in ("Deployment", "Job")]


def containers(manifest: Manifest) -> Iterator[Resource]:
    spec = pod(manifest)["spec"]
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def every_container(manifest: Manifest) -> Iterator[Resource]:
    """Of Cloud Run's kinds too: a Job there is a template within a template."""
    if (manifest.file.parent, manifest.kind) == (CLOUD_RUN, "Job"):
        yield from manifest.content["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    else:
        yield from containers(manifest)


def all_containers() -> list[tuple[Manifest, Resource]]:
    """Every container in the manifests for Kubernetes and Cloud Run that runs our image."""
    found = [*workloads(KUBERNETES), *manifests(CLOUD_RUN)]
    return [(one, container) for one in found for container in every_container(one)]


def function_of(container: Resource) -> str:
    """Whose image it is: `docker build --build-arg FUNCTION=...`, see local/Dockerfile."""
    name = str(container["image"]).rpartition("/")[2].partition(":")[0]
    return name.removeprefix("tidings-")


def named(folder: Path, kind: str, name: str) -> Resource:
    (found,) = [one.content for one in manifests(folder) if (one.kind, one.name) == (kind, name)]
    return found


def settings_file(file: Path) -> dict[str, str]:
    """A file of NAME=value lines."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if line)


def deployment(name: str) -> Resource:
    return named(BASE, "Deployment", name)


def spec_of(name: str) -> Resource:
    """Of a Deployment's pods."""
    spec: Resource = deployment(name)["spec"]["template"]["spec"]
    return spec


def listens_at(container: Resource) -> str:
    return str(container["args"][container["args"].index("--host") + 1])


def selects(selector: Resource, labels: Resource) -> bool:
    values = all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
    return values and all(_fits(rule, labels) for rule in selector.get("matchExpressions", []))


def _fits(rule: Resource, labels: Resource) -> bool:
    if rule["operator"] == "DoesNotExist":
        return rule["key"] not in labels
    assert rule["operator"] == "In"
    return labels.get(rule["key"]) in rule["values"]
