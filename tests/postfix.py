"""A Postfix of its own: its configuration, queue and ports lie in a folder of the test. The system's is not touched."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.services import packages
from local.services.access import free_port
from local.services.process import ServiceError
from tests.wait import eventually

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = mail.test.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
recipient_delimiter = +
relay_domains = {domains}
transport_maps = inline:{{ {transports} }}
local_transport = error:there is no local mail
alias_maps =
# A mail that waits is told of after two seconds, and tried again each second.
delay_warning_time = 2s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
smtp_tls_security_level = none
"""


@dataclass(frozen=True, kw_only=True)
class Postfix:
    """A running one."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"


@contextmanager
def postfix(folder: Path, transports: Mapping[str, str]) -> Iterator[Postfix]:
    """Run one in `folder`, whose path must be short. `transports`: for each domain where its mail goes, as
    `lmtp:inet:[127.0.0.1]:2424`. Install the package if it is missing and may be. Raise ServiceError, with a remedy."""
    packages.install(packages.missing(packages.MAIL))
    program = packages.postfix_program()
    if os.geteuid() != 0:
        raise ServiceError("Postfix starts as root only: run this test as root, as in a container.")
    configuration, port = folder / "etc", free_port()
    for name in ("etc", "queue", "data"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    shutil.chown(folder / "data", pwd.getpwnam("postfix").pw_uid)
    maps = ", ".join(f"{{ {domain} = {to} }}" for domain, to in transports.items())
    settings = MAIN.format(folder=folder, domains=", ".join(transports), transports=maps)
    (configuration / "main.cf").write_text(settings)
    (configuration / "master.cf").write_text(MASTER.format(port=port))
    process = subprocess.Popen([program, "-c", str(configuration), "start-fg"])
    log = folder / "log"
    try:
        eventually("Postfix has started", lambda: log.exists() and "daemon started" in log.read_text(), within=60)
        yield Postfix(port=port, folder=folder)
    finally:
        subprocess.run([program, "-c", str(configuration), "stop"], check=False, capture_output=True)
        end = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        process.kill()
        process.wait()
