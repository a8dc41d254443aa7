"""AWS on this machine: moto's server as a process, and the requests that it got."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
}


@dataclass(frozen=True, kw_only=True)
class Aws:
    endpoint: str
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint}

    @property
    def asked(self) -> int:
        """Number of requests so far."""
        return len(re.findall(r'"POST / HTTP', self.log.read_text()))

    def put_secret(self, name: str, value: str | dict[str, str]) -> None:
        """Create or change it."""
        text = value if isinstance(value, str) else json.dumps(value)
        with self.client("secretsmanager") as secrets:
            try:
                secrets.create_secret(Name=name, SecretString=text)
            except secrets.exceptions.ResourceExistsException:
                secrets.put_secret_value(SecretId=name, SecretString=text)

    def put_parameter(self, name: str, value: str) -> None:
        with self.client("ssm") as parameters:
            parameters.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    def check_rights(self, after: int) -> None:
        """Refuse requests after this many, like IAM."""
        plain = {"Content-Type": "text/plain"}
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth", data=str(after).encode(), headers=plain
        )
        urllib.request.urlopen(request, timeout=10).close()

    @contextlib.contextmanager
    def client(self, service: str) -> Iterator[Any]:
        made = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        with contextlib.closing(made):
            yield made


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Aws]:
    log = folder / "moto.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("w") as written:
        server = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT)
    try:
        yield Aws(endpoint=_endpoint(server, log), log=log)
    finally:
        server.kill()
        server.wait()


def _endpoint(server: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())
