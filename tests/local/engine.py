"""Runs the steps of a Dockerfile without an engine: each RUN unchanged, in its own root, with Linux namespaces.

This machine replaces the base image: its programs, read only, and its Python. So this tests that the steps work in
this order with the files that they copy, not the content or the digest of the base image.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tests.local.dockerfile import Dockerfile, Stage, Step, expanded

OWN = ("tmp", "proc", "dev", "etc", "home", "root")
"""Folders that each root has of its own."""
OF_ETC = (
    "group",
    "hosts",
    "ld.so.cache",
    "login.defs",
    "nsswitch.conf",
    "passwd",
    "pip.conf",
    "resolv.conf",
    "ssl",
    "xdg",
)
"""Copied, because steps add users."""
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Root:
    """The state of a stage."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, str]:
        return {**self.arguments, **self.environment}


@dataclass
class Engine:
    """`folder`: where roots lie. `context`: what may be copied. `given`: the build arguments. `installs`: whether pip
    does, which takes half a minute; else the same packages are taken from this workplace, made of the same lock.
    """

    dockerfile: Dockerfile
    context: Path
    folder: Path
    given: Mapping[str, str] = field(default_factory=dict)
    installs: bool = True
    made: dict[str, Root] = field(default_factory=dict)
    """Stages, by name, that are there already."""

    def build(self, name: str) -> Root:
        """Raise CalledProcessError if a step fails."""
        if name not in self.made:
            stage = self.dockerfile.stage(name)
            root = self._based(stage)
            for step in stage.steps:
                self._take(root, step)
            self.made[name] = root
        return self.made[name]

    def _based(self, stage: Stage) -> Root:
        path = self.folder / stage.name
        if any(stage.base == other.name for other in self.dockerfile.stages):
            base = self.build(stage.base)
            shutil.copytree(base.path, path, symlinks=True, copy_function=_linked)
            _as_owned(base.path, path)
            return Root(path, dict(base.environment), base.folder, base.user)
        return Root(_empty(path), {"PATH": SYSTEM})

    def _take(self, root: Root, step: Step) -> None:
        match step.instruction:
            case "ARG":
                name, _, default = step.arguments.partition("=")
                root.arguments[name] = self.given.get(name, default)
            case "ENV":
                for pair in shlex.split(step.arguments):
                    name, _, value = pair.partition("=")
                    root.environment[name] = expanded(value, root.values())
            case "WORKDIR":
                root.folder = step.arguments
                (root.path / step.arguments.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(root, step.words(root.values()))
            case "RUN" if " pip " in step.arguments and not self.installs:
                (site,) = (root.path / "venv/lib").glob("python3*/site-packages")
                _taken_from_here((root.path / "build/needed.txt").read_text(encoding="utf-8"), site)
            case "RUN":
                with started(root, ["/bin/sh", "-c", step.arguments], root.values(), building=True) as ran:
                    said, _ = ran.communicate()
                if ran.returncode:
                    raise subprocess.CalledProcessError(ran.returncode, step.arguments, said)
            case "USER":
                root.user = step.arguments
            case "ENTRYPOINT":
                root.entrypoint = self.dockerfile.entrypoint(root.path.name)
            case "EXPOSE":
                pass
            case other:
                raise NotImplementedError(other)

    def _copy(self, root: Root, words: list[str]) -> None:
        source = self.context
        if words[0].startswith("--from="):
            source = self.build(words.pop(0).removeprefix("--from=")).path
        *froms, to = words
        target = root.path / os.path.join(root.folder, to).lstrip("/")
        for name in froms:
            path = source / name.lstrip("/")
            if path.is_dir() and source != self.context and not target.exists():
                path.rename(target)  # no other stage builds upon it
            elif path.is_dir():
                shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True, copy_function=_linked)
            else:
                into = target / path.name if to.endswith("/") else target
                into.parent.mkdir(parents=True, exist_ok=True)
                _linked(path, into)


def started(
    root: Root,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    building: bool = False,
    volumes: Mapping[Path, str] | None = None,
) -> "subprocess.Popen[str]":
    """The command, alone in its root, as the stage's user. But for a build, all is read only, save /tmp and the
    `volumes`, by where they lie. The process is the command's own, a signal reaches it, and it leads a group."""
    at = shlex.quote(str(root.path))
    lines = ["set -e", f"mount --bind {at} {at}"]
    for path in _of_the_machine(building):
        inside = shlex.quote(f"{root.path}{path}")
        lines += [f"mkdir -p {inside}", f"mount --rbind {path} {inside}", f"mount -o remount,bind,ro {inside}"]
    lines += [f"mount --rbind /dev {at}/dev", f"mount -t proc proc {at}/proc"]
    if not building:
        lines += [f"mount --bind {shlex.quote(str(path))} {at}{inside}" for path, inside in (volumes or {}).items()]
        lines += [f"mount -t tmpfs -o mode=1777 tmpfs {at}/tmp", f"mount -o remount,bind,ro {at}"]
    inner = f'cd {shlex.quote(root.folder)} && exec "$@"'
    lines.append(
        f"exec chroot {at} setpriv --reuid={root.user.split(':')[0]} --regid={root.user.split(':')[1]} --clear-groups"
        f" --no-new-privs --bounding-set={'+all' if building else '-all'} sh -c {shlex.quote(inner)} sh "
        + shlex.join(command)
    )
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", "\n".join(lines)],
        env={**_of_the_network(building), **environment, "PATH": _path(environment, building)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def _path(environment: Mapping[str, str], building: bool) -> str:
    """The base image has Python in its path. For a build that is this workplace's, which has pip."""
    path = environment.get("PATH", SYSTEM)
    return path.replace(SYSTEM, f"{Path(sys.prefix) / 'bin'}:{SYSTEM}") if building else path


def _of_the_machine(building: bool) -> list[str]:
    """The content of every root: programs and libraries, and for a build, this machine's Python."""
    folders = ["/usr", "/opt", *(f"/{name}" for name in ("bin", "sbin", "lib", "lib64") if _is_folder(f"/{name}"))]
    if not sys.base_prefix.startswith("/usr"):
        folders.append(sys.base_prefix)
    return [*folders, sys.prefix] if building else folders


def _of_the_network(building: bool) -> dict[str, str]:
    """This machine's package index settings, which an engine gets from its own configuration."""
    kept = ("pip_", "ssl_cert", "requests_ca")
    return {name: value for name, value in os.environ.items() if building and name.lower().startswith(kept)}


def _empty(path: Path) -> Path:
    for name in OWN:
        (path / name).mkdir(parents=True)
    for name in OF_ETC:
        source = Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, path / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, path / "etc" / name)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path(f"/{name}").is_symlink():
            (path / name).symlink_to(os.readlink(f"/{name}"))
    (path / "tmp").chmod(0o1777)
    return path


def _taken_from_here(needed: str, site: Path) -> None:
    for name in re.findall(r"^([a-z0-9-]+)==", needed, flags=re.MULTILINE):
        with contextlib.suppress(PackageNotFoundError):  # of another Python or system
            found = distribution(name)
            for file in found.files or ():
                if ".." not in file.parts:  # its commands
                    (site / file).parent.mkdir(parents=True, exist_ok=True)
                    _linked(str(found.locate_file(file)), site / file)


def _linked(source: str | Path, target: str | Path) -> None:
    """Hard link if possible: no step writes into an existing file."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _as_owned(base: Path, copy: Path) -> None:
    """copytree keeps modes, not owners."""
    for path in base.iterdir():
        if path.is_dir() and not path.is_symlink():
            os.chown(copy / path.name, path.stat().st_uid, path.stat().st_gid)


def _is_folder(path: str) -> bool:
    return Path(path).is_dir() and not Path(path).is_symlink()
