"""The contents of each zip: the layer has the package `tidings` and its dependencies; a function has its folder and
its own dependencies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

HTTP_FUNCTIONS = ("intake", "replay")
DOCS_PAGE = {"tidings_swagger": ROOT / "layers/common/python/tidings_swagger"}


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """`declares`: the declaration of its packages, see local.lock_subset; they go to `packages_in`. `trees`: our files
    and folders, by their path in the zip."""

    name: str
    declares: str | None
    trees: dict[str, Path]
    packages_in: str = ""


def layer(authorities: Path | None) -> Artifact:
    """Without boto3, which Lambda provides. `authorities`: PEM file of the database's CAs; on Lambda it is
    /opt/rds-ca.pem."""
    trees = {"python/tidings": ROOT / "layers/common/python/tidings"}
    if authorities is not None:
        trees["rds-ca.pem"] = authorities
    return Artifact(name="layer", declares="layers/common/pyproject.toml[server]", trees=trees, packages_in="python")


def functions() -> Sequence[Artifact]:
    """Each keeps its path, because its handler is functions/NAME/main.handler."""
    names = sorted(main.parent.name for main in (ROOT / "functions").glob("*/main.py"))
    return [
        Artifact(
            name=name,
            declares=f"functions/{name}/requirements.txt",
            trees={f"functions/{name}": ROOT / "functions" / name, **(DOCS_PAGE if name in HTTP_FUNCTIONS else {})},
        )
        for name in names
    ]


def migrate() -> Artifact:
    places = ("infra/aws/migrate.py", "infra/migrations")
    return Artifact(name="migrate", declares=None, trees={place: ROOT / place for place in places})
