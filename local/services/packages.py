"""Find the programs of MariaDB, RabbitMQ, Prometheus and Postfix, and install their packages if we may."""

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.services.process import ServiceError

POLICY = Path("/usr/sbin/policy-rc.d")


def mariadb_program(name: str) -> str:
    """The path of `mariadbd` or `mariadb-install-db`."""
    return _existing("mariadb-server", shutil.which(name, path=_search_path()))


def rabbitmq_program() -> str:
    """The path of RabbitMQ's own script. Debian's script in PATH demands the user rabbitmq and the system's node."""
    unpacked = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    candidates = [Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), *reversed(unpacked)]
    if on_path := shutil.which("rabbitmq-server", path=_search_path()):
        candidates.append(Path(on_path))
    usable = [path for path in candidates if path.exists() and path.resolve().name != "rabbitmq-script-wrapper"]
    return _existing("rabbitmq-server", str(usable[0]) if usable else None)


def epmd_program() -> str:
    """The path of `epmd`, Erlang's port mapper."""
    return _existing("rabbitmq-server", shutil.which("epmd", path=_search_path()))


def promtool_program() -> str:
    """The path of `promtool`, which checks rules."""
    return _existing("prometheus", shutil.which("promtool", path=_search_path()))


def postfix_program() -> str:
    """The path of `postfix`."""
    return _existing("postfix", shutil.which("postfix", path=_search_path()))


SERVERS = ("rabbitmq-server", "mariadb-server")
CHECKS = ("prometheus",)
MAIL = ("postfix",)


def missing(of: Sequence[str] = SERVERS) -> list[str]:
    """Those of these Debian packages that are not installed. Waits for an installation by another process, because
    programs appear before their dependencies."""
    there = {
        "rabbitmq-server": _has_rabbitmq,
        "mariadb-server": _has_mariadb,
        "prometheus": _has_promtool,
        "postfix": _has_postfix,
    }
    with _locked(POLICY.parent, fcntl.LOCK_SH):
        return [name for name in of if not there[name]()]


def install(packages: Sequence[str], *, policy: Path = POLICY) -> None:
    """Install the packages with apt, without starting their services. Raise ServiceError if we cannot."""
    if not packages:
        return
    remedy = f"install {' and '.join(packages)}"
    if set(packages) & set(SERVERS):
        remedy += ", start a Docker engine, or give the URLs of running servers"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ServiceError(f"{' and '.join(packages)} cannot be installed by this user: {remedy}.")
    print(f"Installing {' and '.join(packages)} (once; their system services stay off) ...", flush=True)
    command = ["install", "-y", "--no-install-recommends", *packages]
    with _services_stay_off(policy):
        done = _apt(command)
        if done.returncode:  # usually because there are no package lists yet
            print("Reading the package lists ...", flush=True)
            _apt(["update"])
            done = _apt(command)
    if done.returncode:
        cause = " ".join(done.stdout.strip().splitlines()[-1:])
        raise ServiceError(f"apt-get cannot install {' and '.join(packages)}: {cause}. Instead, {remedy}.")
    print("Installed.", flush=True)


def _apt(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


@contextlib.contextmanager
def _services_stay_off(policy: Path) -> Iterator[None]:
    """Packages ask the script `policy` whether they may start their services. An existing script is kept. One
    installation at a time, or the first to end would remove the script of the others."""
    with _locked(policy.parent, fcntl.LOCK_EX), _script(policy):
        yield


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, how)
        yield
    finally:
        os.close(opened)


@contextlib.contextmanager
def _script(policy: Path) -> Iterator[None]:
    try:
        handle = os.open(policy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    try:
        with open(handle, "w") as script:
            script.write("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)


def _has_mariadb() -> bool:
    with contextlib.suppress(ServiceError):
        return bool(mariadb_program("mariadbd") and mariadb_program("mariadb-install-db"))
    return False


def _has_rabbitmq() -> bool:
    with contextlib.suppress(ServiceError):
        return bool(rabbitmq_program())
    return False


def _has_postfix() -> bool:
    with contextlib.suppress(ServiceError):
        return bool(postfix_program())
    return False


def _has_promtool() -> bool:
    with contextlib.suppress(ServiceError):
        return bool(promtool_program())
    return False


def _existing(package: str, path: str | None) -> str:
    if path is None:
        raise ServiceError(f"{package} is not installed")
    return path


def _search_path() -> str:
    """PATH and the folders of servers, which a normal user's PATH does not include."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"])
