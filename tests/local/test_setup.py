"""`local/setup` in its own tree, with a fake Python and uv that record their arguments."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.installed import ROOT, of_local_up

PYTHON = f"""#!/bin/sh
case "$*" in
    "-m venv --without-pip .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip config list") echo "global.index-url='https://index.example.com/simple'"; exit 0 ;;
    "-m "*) ;;
    "-c import sys; print"*) echo "$0"; exit 0 ;;
    *) exec {sys.executable} "$@" ;;
esac
echo "python $*" >> told
case "$*" in *"-r local/uv.txt") [ -z "$NO_UV" ] && mkdir -p .venv/setup/bin && cp uv .venv/setup/bin ;; esac
"""
UV = """#!/bin/sh
echo "uv $* from $UV_DEFAULT_INDEX" >> told
while [ $# -gt 1 ]; do [ "$1" != -r ] || cp "$2" installed.txt; shift; done
[ -z "$UV_FAILS" ]
"""


@dataclass(frozen=True)
class Tree:
    folder: Path

    def setup(self, *options: str, **environment: str) -> list[str]:
        """The recorded calls."""
        told = self.folder / "told"
        told.unlink(missing_ok=True)
        kept = {name: os.environ[name] for name in ("HOME",) if name in os.environ}
        path = f"{self.folder / 'bin'}:/usr/bin:/bin"
        subprocess.run(
            ["local/setup", *options],
            cwd=self.folder,
            env={"PATH": path, "PYTHON": str(self.folder / "python"), **kept, **environment},
            check=True,
        )
        return told.read_text().splitlines() if told.exists() else []

    def has_uv(self) -> None:
        (self.folder / "bin").mkdir()
        shutil.copy(self.folder / "uv", self.folder / "bin")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    declarations = ["layers/common/pyproject.toml", *(str(f.relative_to(ROOT)) for f in ROOT.glob("functions/*/*.txt"))]
    declarations += [str(file.relative_to(ROOT)) for file in ROOT.glob("local/**/*.txt")]
    for file in ("requirements.lock", "local/setup", "local/lock_subset.py", *declarations):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for name, text in (("python", PYTHON), ("uv", UV)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return Tree(tmp_path)


def test_packages_for_local_up_are_installed_by_hash_from_pips_index(tree: Tree) -> None:
    tree.has_uv()
    made, packages, layer = tree.setup("--running")
    assert made == "python -m venv --without-pip .venv"
    assert "--require-hashes" in packages
    assert packages.endswith(" from https://index.example.com/simple")
    assert "--no-deps" in layer
    lines = (tree.folder / "installed.txt").read_text().splitlines()
    assert {line.partition("==")[0] for line in lines if line[0].isalnum()} == of_local_up()


def test_test_packages_are_added_and_neither_stage_recreates_the_environment(tree: Tree) -> None:
    tree.has_uv()
    assert len(tree.setup("--running")) == 3
    assert tree.setup("--running") == []
    assert [line for line in tree.setup() if "venv --" in line] == []
    assert (tree.folder / "installed.txt").read_text() == (ROOT / "requirements.lock").read_text()
    assert tree.setup() == []
    assert tree.setup("--running") == []


def test_a_changed_lock_or_declaration_recreates_it(tree: Tree) -> None:
    tree.has_uv()
    for file in ("requirements.lock", "layers/common/pyproject.toml", "functions/sms/requirements.txt"):
        tree.setup()
        with (tree.folder / file).open("a") as text:
            text.write("# another\n")
        assert tree.setup()[0] == "python -m venv --without-pip .venv"


def test_an_activated_environment_is_recreated_as_well(tree: Tree) -> None:
    tree.has_uv()
    shutil.copy(tree.folder / "python", tree.folder / "bin" / "python3.13")
    activated = {"PYTHON": "python3.13", "PATH": f"{tree.folder}/.venv/bin:{tree.folder}/bin:/usr/bin:/bin"}
    tree.setup(**activated)
    shutil.copy(tree.folder / "python", tree.folder / ".venv" / "bin" / "python3.13")
    with (tree.folder / "requirements.lock").open("a") as text:
        text.write("# another\n")
    assert tree.setup(**activated)[0] == "python -m venv --without-pip .venv"


def test_a_python_without_pip_is_taken_only_if_there_is_no_other(tree: Tree) -> None:
    tree.has_uv()
    for name, code in (("without", 1), ("with", 0)):
        (tree.folder / name).write_text(PYTHON.replace("exit 0 ;;\n    *)", f"exit {code} ;;\n    *)"))
        (tree.folder / name).chmod(0o755)
    both = f"{tree.folder}/without {tree.folder}/with"
    tree.setup(PYTHON=both)
    assert (tree.folder / ".venv/bin/python").read_text() == (tree.folder / "with").read_text()
    (tree.folder / "with").unlink()
    shutil.rmtree(tree.folder / ".venv")
    tree.setup(PYTHON=both)
    assert (tree.folder / ".venv/bin/python").read_text() == (tree.folder / "without").read_text()


def test_without_uv_pip_installs_uv_by_hash(tree: Tree) -> None:
    told = tree.setup("--running")
    assert told[1].endswith("--require-hashes --only-binary :all: -r local/uv.txt")
    assert [line.partition(" ")[0] for line in told[2:]] == ["uv", "uv"]
    assert not (tree.folder / ".venv/setup").exists()


@pytest.mark.parametrize("hindrance", ["NO_UV", "UV_FAILS"])
def test_if_uv_fails_pip_installs(tree: Tree, hindrance: str) -> None:
    told = tree.setup("--running", **{hindrance: "1"})
    packages, layer = (line for line in told if line.startswith("python -m pip") and "--no-compile" in line)
    assert "--require-hashes" in packages
    assert layer.endswith("-e layers/common")
    assert tree.setup("--running") == []
