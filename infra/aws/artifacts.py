"""What goes into each zip: the layer's has the package `tidings` and all that it needs; a function's its folder, and what
only this one needs."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

OWN_PACKAGES = {"sms": ("twilio",), "push": ("firebase-admin",)}
"""The vendor's SDK, which only its channel's function has."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """`packages`: installed ones, whose own needs come along, and lie at `packages_in`. `trees`: files and folders of
    ours, by where they lie in the zip."""

    name: str
    packages: Sequence[str]
    trees: dict[str, Path]
    packages_in: str = ""


def layer(authorities: Path | None) -> Artifact:
    """`authorities`: whom to trust as the database, a PEM file; on Lambda it is /opt/rds-ca.pem."""
    project = tomllib.loads((ROOT / "layers/common/pyproject.toml").read_text())["project"]
    trees = {"python/tidings": ROOT / "layers/common/python/tidings"}
    if authorities is not None:
        trees["rds-ca.pem"] = authorities
    return Artifact(name="layer", packages=project["dependencies"], trees=trees, packages_in="python")


def functions() -> Sequence[Artifact]:
    """Each keeps its path: its handler is functions/NAME/main.handler."""
    names = sorted(main.parent.name for main in (ROOT / "functions").glob("*/main.py"))
    return [
        Artifact(
            name=name,
            packages=OWN_PACKAGES.get(name, ()),
            trees={f"functions/{name}": ROOT / "functions" / name},
        )
        for name in names
    ]


def migrate() -> Artifact:
    places = ("infra/aws/migrate.py", "infra/migrations")
    return Artifact(name="migrate", packages=(), trees={place: ROOT / place for place in places})
