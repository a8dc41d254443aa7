"""The zips for AWS: each runs alone, as on Lambda, with nothing but the layer."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tidings.api.api_keys import Scope, new_key
from tidings.domain.channels import CHANNELS

from infra.aws import zips
from infra.aws.artifacts import HTTP_FUNCTIONS, ROOT
from infra.aws.packages import BuildError, Installed, Locked, Target
from infra.aws.zips import Made, build

FUNCTIONS = ("intake", "replay", "receipts", *CHANNELS)
SDKS = {"twilio", "firebase_admin", "functions_framework", "flask", "starlette", "boto3", "botocore"}
HTTP = {"version": "2.0", "rawPath": "/readyz", "requestContext": {"http": {"method": "GET", "path": "/readyz"}}}
QUEUE = {"eventSource": "aws:rmq", "rmqMessagesByQueue": {}}
EVENTS: dict[str, Any] = {
    "intake": HTTP,
    "receipts": HTTP,
    "replay": {},
    **dict.fromkeys(CHANNELS, QUEUE),
    "migrate": {},
}

LAMBDA = """
import importlib, json, sys
module, event, *paths = sys.argv[1:]
sys.path[:0] = paths

class Context:
    def get_remaining_time_in_millis(self):
        return 60_000

main = importlib.import_module(module)
modules = dict(sys.modules)
answer = main.handler(json.loads(event), Context())
files = [str(path) for module in sys.modules.values() if (path := getattr(module, "__file__", None))]
print("ANSWER" + json.dumps({"answer": answer, "modules": sorted(modules), "files": files}))
"""


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """`opt` and `task`: where Lambda puts the layer, and each function."""

    made: dict[str, Made]
    opt: Path
    tasks: Path

    def names(self, zip_name: str) -> list[str]:
        with zipfile.ZipFile(self.made[zip_name].path) as archive:
            return archive.namelist()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    """From what is installed here, for this machine: the same files as for Lambda, where they are not compiled."""
    folder = tmp_path_factory.mktemp("zips")
    (folder / "ca.pem").write_text("trusted")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zlib, "Z_DEFAULT_COMPRESSION", zlib.Z_BEST_SPEED)  # it is unpacked again at once
        made = build(folder / "dist", Installed(), authorities=folder / "ca.pem", compiler=None)
    for one in made:
        with zipfile.ZipFile(one.path) as archive:
            archive.extractall(folder / ("opt" if one.path.stem == "layer" else f"tasks/{one.path.stem}"))
    return Unpacked(made={one.path.stem: one for one in made}, opt=folder / "opt", tasks=folder / "tasks")


@pytest.fixture(scope="module")
def invoked(built: Unpacked, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Call a function's handler with a trivial event, in a process without this environment's packages."""
    database = tmp_path_factory.mktemp("database") / "tidings.db"
    account = {"type": "service_account", "project_id": "p", "client_email": "a@p.example", "private_key": _key()}
    environment = {
        "PATH": os.environ["PATH"],
        "TIDINGS_DATABASE_URL": f"sqlite:///{database}",
        "TIDINGS_API_KEYS": str(new_key("acme", [Scope.SEND, Scope.OPERATE])[1]),
        "TIDINGS_METRICS": "emf",
        "TIDINGS_SMTP_URL": "smtp://127.0.0.1:1",
        "TIDINGS_SMTP_SENDER": "a@example.com",
        "TIDINGS_TWILIO_ACCOUNT_SID": "AC1",
        "TIDINGS_TWILIO_AUTH_TOKEN": "token",
        "TIDINGS_WEBHOOKS_SECRET": "a secret of the tests, which is long enough",
        "TIDINGS_TWILIO_SENDER": "+15005550006",
        "TIDINGS_RECEIPTS_URL": "https://receipts.example.com",
        "TIDINGS_RECEIPTS_SECRET": "of the test, of 32 characters and more",
        "TIDINGS_FCM_SERVICE_ACCOUNT": json.dumps({**account, "token_uri": "http://127.0.0.1:1/token"}),
    }

    def invoke(name: str) -> dict[str, Any]:
        task = built.tasks / name
        module = "infra.aws.migrate" if name == "migrate" else f"functions.{name}.main"
        command = [sys.executable, "-I", "-S", "-c", LAMBDA, module, json.dumps(EVENTS[name])]
        done = subprocess.run(
            [*command, str(task), str(built.opt / "python")],
            cwd=task,
            env={**environment, "AWS_LAMBDA_FUNCTION_NAME": f"tidings-{name}"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout.rpartition("ANSWER")[2])
        return told

    return invoke


def _key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain).decode()


@pytest.fixture(scope="module")
def migration(invoked: Callable[[str], dict[str, Any]]) -> object:
    """The answer of `migrate`, for the database of all functions."""
    return invoked("migrate")["answer"]


# --- each alone -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_zip_runs_with_nothing_but_the_layer(
    built: Unpacked, invoked: Callable[[str], dict[str, Any]], migration: object, name: str
) -> None:
    head = max(path.name[:4] for path in (ROOT / "infra/migrations/versions").glob("0*.py"))
    assert migration == {"before": None, "now": head}
    told = invoked(name)
    match name:
        case "intake" | "receipts":
            assert told["answer"]["statusCode"] == 200
        case "replay":
            assert told["answer"].items() >= {"published": 0, "refused": 0}.items()
        case _:
            assert told["answer"] is None
    ours = (str(built.opt), str(built.tasks / name))
    standard = (sys.base_prefix, "/usr/lib")
    assert not [file for file in told["files"] if "site-packages" in file or not file.startswith((*ours, *standard))]
    sdk = {"sms": {"twilio"}, "push": {"firebase_admin"}}.get(name, set())
    assert SDKS & set(told["modules"]) == sdk


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_has_its_own_sdk_and_no_others(built: Unpacked, name: str) -> None:
    there = {path.split("/")[0] for path in built.names(name)}
    assert {"twilio", "firebase_admin"} & there == {"sms": {"twilio"}, "push": {"firebase_admin"}}.get(name, set())
    served = {"tidings_swagger"} if name in HTTP_FUNCTIONS else set()
    assert name in ("sms", "push") or there == {"functions", *served}
    assert there & {"tidings_swagger"} == served
    other = {path.split("/")[1] for path in built.names(name) if path.startswith("functions/")}
    assert other == {name}


def test_the_layer_has_the_shared_packages_without_those_of_lambda(built: Unpacked) -> None:
    names = built.names("layer")
    there = {path.split("/")[1] for path in names if path.startswith("python/")}
    assert "tidings_swagger" not in there  # two megabytes that only HTTP functions serve: they are in their zips
    assert {"tidings", "pika", "sqlalchemy", "pydantic", "alembic", "aws_lambda_powertools"} <= there
    assert not {"boto3", "botocore", "twilio", "firebase_admin", "flask", "rich", "pytest", "opentelemetry"} & there
    assert "rds-ca.pem" in names
    assert {path.split("/")[0] for path in names} == {"python", "rds-ca.pem"}


def test_no_package_is_in_both_the_layer_and_a_function(built: Unpacked) -> None:
    for name in FUNCTIONS:
        assert not set(built.made[name].packages) & set(built.made["layer"].packages)


def test_no_cache_no_test_and_no_secret_is_in_a_zip(built: Unpacked) -> None:
    for name in built.made:
        bad = [path for path in built.names(name) if "__pycache__" in path or path.endswith((".env", ".key", ".db"))]
        assert not bad


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_each_fits_into_lambda_with_room(built: Unpacked) -> None:
    """Half of what Lambda allows; compiled, as for Lambda, a zip is some half larger."""
    layer = built.made["layer"]
    for name, one in built.made.items():
        print(f"{name}: {one.zipped / 2**20:.1f} MB, {one.unzipped / 2**20:.1f} MB unzipped")
        together = one.unzipped + (layer.unzipped if one is not layer else 0)
        assert (one.zipped, together) < (zips.ZIPPED // 2, zips.UNZIPPED // 2)


def test_a_zip_that_is_too_large_is_an_error(built: Unpacked, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [built.made["layer"], built.made["sms"]]
    zips._check(made)
    monkeypatch.setattr(zips, "UNZIPPED", made[0].unzipped + made[1].unzipped - 1)
    with pytest.raises(BuildError, match=r"sms\.zip is too large"):
        zips._check(made)


# --- the same again ---------------------------------------------------------------------------------------------------


def test_the_same_files_make_the_same_zip(tmp_path: Path) -> None:
    """Whenever, and in whatever order, they were written."""
    digests = set()
    for turn, names in enumerate((["a.py", "b/c.py", "b/a.so"], ["b/a.so", "b/c.py", "a.py"])):
        tree = tmp_path / str(turn)
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(f"of {name}")
            os.utime(tree / name, (turn * 10**6, turn * 10**6))
            (tree / name).chmod(0o600 if turn else 0o755)
        made = zips._zip(tree, tmp_path / f"{turn}.zip", [])
        digests.add(hashlib.sha256(made.path.read_bytes()).hexdigest())
    assert len(digests) == 1


# --- by pip, for another machine --------------------------------------------------------------------------------------


def wheel(folder: Path, tag: str) -> str:
    """A package of one line, which says for whom it is. Its entry in a lock file."""
    path = folder / f"demo-1-cp312-cp312-{tag}.whl"
    files = {
        "demo.py": f"FOR = {tag!r}",
        "demo-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1\n",
        "demo-1.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp312-cp312-{tag}\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("demo-1.dist-info/RECORD", "".join(f"{name},,\n" for name in files))
    return f"    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip finds anything."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.parametrize(
    ("machine", "tag"), [("aarch64", "manylinux2014_aarch64"), ("x86_64", "manylinux_2_28_x86_64")]
)
def test_a_package_is_chosen_for_the_target_machine(wheels: Path, tmp_path: Path, machine: str, tag: str) -> None:
    hashes = [wheel(wheels, one) for one in ("manylinux2014_aarch64", "manylinux_2_28_x86_64")]
    entry = "demo==1 \\\n" + " \\\n".join(hashes) + "\n"
    Locked(Target(python="3.12", machine=machine)).put({"demo": entry}, tmp_path / "out")
    assert (tmp_path / "out/demo.py").read_text() == f"FOR = {tag!r}"
    assert not list((tmp_path / "out").rglob("*.pyc"))  # of another Python than the target's


@pytest.mark.parametrize(
    ("machine", "digest", "says"),
    [
        ("x86_64", None, "No matching distribution"),
        ("aarch64", "0" * 64, "DO NOT MATCH THE HASHES"),
        ("aarch64", "", "Hashes are required"),
    ],
    ids=["for another machine", "changed since it was locked", "locked without a hash"],
)
def test_a_package_without_a_matching_wheel_is_an_error(
    wheels: Path, tmp_path: Path, machine: str, digest: str | None, says: str
) -> None:
    line = wheel(wheels, "manylinux2014_aarch64")
    hashed = line if digest is None else f"    --hash=sha256:{digest}"
    entry = f"demo==1 \\\n{hashed}\n" if digest != "" else "demo==1\n"
    with pytest.raises(BuildError, match=says):
        Locked(Target(python="3.12", machine=machine)).put({"demo": entry}, tmp_path / "out")


def test_the_target_is_what_the_template_says() -> None:
    where = zips.target()
    template = (zips.HERE / "template.yaml").read_text()
    assert f"Runtime: python{where.python}" in template
    assert where.machine in zips.MACHINES.values()
