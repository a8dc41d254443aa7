"""Build the zips: `infra/aws/build`. Builds are reproducible, byte by byte.

template.yaml sets the target: a Python version and a machine.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from infra.aws.artifacts import ROOT, Artifact, functions, layer, migrate
from infra.aws.packages import BuildError, Installed, Locked, Source, Target
from local.lock_subset import declared, needed

HERE = Path(__file__).parent
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}

UNZIPPED, ZIPPED = 250 * 1024 * 1024, 50 * 1024 * 1024
"""Bytes: of a function with its layers, and of a zip that is uploaded without S3.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of the zip format


@dataclass(frozen=True, kw_only=True)
class Made:
    """`packages`: their names, sorted."""

    path: Path
    packages: Sequence[str]
    zipped: int
    unzipped: int


def target() -> Target:
    """From the template."""
    runs = YAML().load(HERE / "template.yaml")["Globals"]["Function"]
    return Target(python=str(runs["Runtime"]).removeprefix("python"), machine=MACHINES[str(runs["Architectures"][0])])


def build(out: Path, source: Source, *, authorities: Path | None, compiler: str | None) -> list[Made]:
    """Build one zip per artifact. `compiler`: a Python of the target's version, to compile the modules. Raise
    BuildError."""
    common = layer(authorities)
    shared = _entries(common)
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for artifact in (common, *functions(), migrate()):
        own = _entries(artifact)
        packages = own if artifact is common else {name: own[name] for name in own.keys() - shared.keys()}
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder)
            source.put(packages, tree / artifact.packages_in)
            _copy(artifact, tree)
            if compiler is not None:
                _compile(tree, compiler)
            made.append(_zip(tree, out / f"{artifact.name}.zip", sorted(packages)))
    _check(made)
    return made


def _entries(artifact: Artifact) -> dict[str, str]:
    if artifact.declares is None:
        return {}
    return needed((ROOT / "requirements.lock").read_text(encoding="utf-8"), declared(artifact.declares, ROOT))


def _copy(artifact: Artifact, tree: Path) -> None:
    for place, origin in artifact.trees.items():
        to = tree / place
        to.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(origin, to)


def _compile(tree: Path, compiler: str) -> None:
    """Compile here: Lambda's folders are read-only, so every cold start would compile again. unchecked-hash, because
    all files in the zip have the same time."""
    command = [compiler, "-m", "compileall", "-qq", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(tree)]
    subprocess.run([*command, str(tree)], check=False)  # some packages contain templates that are not valid Python


def _zip(tree: Path, path: Path, packages: Sequence[str]) -> Made:
    unzipped = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(file for file in tree.rglob("*") if file.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(tree).as_posix(), EPOCH)
            entry.external_attr = 0o644 << 16  # Lambda runs as another user
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = file.read_bytes()
            archive.writestr(entry, content)
            unzipped += len(content)
    return Made(path=path, packages=packages, zipped=path.stat().st_size, unzipped=unzipped)


def _check(made: Sequence[Made]) -> None:
    """Raise BuildError."""
    for one in made:
        together = one.unzipped + (made[0].unzipped if one is not made[0] else 0)
        if together > UNZIPPED or one.zipped > ZIPPED:
            raise BuildError(
                f"{one.path.name} is too large for Lambda: {_size(one.zipped)}, {_size(together)} unzipped"
            )


def compiler_for(where: Target) -> str | None:
    """A Python of the target's version, if installed."""
    for candidate in (sys.executable, f"python{where.python}"):
        command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            version = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        except OSError:
            continue
        if version == where.python:
            return candidate
    return None


def _table(made: Sequence[Made]) -> Iterator[str]:
    yield f"{'zip':<12} {'zipped':>8} {'unzipped':>9}  own packages"
    for one in made:
        own = ", ".join(one.packages) if one is not made[0] else f"{len(one.packages)} of the layer"
        yield f"{one.path.name:<12} {_size(one.zipped):>8} {_size(one.unzipped):>9}  {own}"


def _size(count: int) -> str:
    return f"{count / 1024 / 1024:.1f} MB"


def main() -> int:
    parser = argparse.ArgumentParser(prog="infra/aws/build", description=__doc__)
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM file of the database's CAs, for the layer")
    parser.add_argument(
        "--installed", action="store_true", help="build for this machine and Python, to try the zips here"
    )
    options = parser.parse_args()
    where = target()
    source: Source = Installed() if options.installed else Locked(where)
    compiler = compiler_for(where)
    try:
        made = build(HERE / "dist", source, authorities=options.ca, compiler=compiler)
    except BuildError as error:
        print(f"infra/aws/build: {error}", file=sys.stderr)
        return 1
    print("\n".join(_table(made)))
    if compiler is None and not options.installed:
        print(f"No python{where.python} here: the modules are not compiled, and a cold start takes seconds longer.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
