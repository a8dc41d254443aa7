"""What the embedded default does: every part on one SQLite file."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from local.stack.stack import Options, running
from tests.load.generator import Generator
from tests.load.plan import Plan, mail
from tests.load.sink import Sink
from tests.load.usage import cpu_seconds
from tests.wait import eventually

CONNECTIONS = 64


def sqlite() -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory(prefix="tidings-") as folder, Sink() as sink:
        options = Options(
            state=Path(folder) / "stack",
            first_port=0,
            environment={"TIDINGS_SMTP_URL": f"smtp://127.0.0.1:{sink.port}"},
        )
        with running(options) as stack, Generator(port=stack.ports.intake, key=stack.secrets.api_key) as generator:
            rates: list[float] = []
            spent: list[float] = []
            for count in (200, 1000, 1000, 1000):
                pids = [process.pid for name, process in stack.processes.running.items() if name != "providers"]
                before = sum(map(cpu_seconds, pids))
                answers = generator.run(Plan(body=mail(), connections=CONNECTIONS, count=count))
                assert answers.accepted == count, answers.statuses
                eventually("mails at the sink", lambda count=count: sink.count() >= count, within=300)  # type: ignore[misc]
                rates.append(count / (max(sink.take().at) - min(answers.begun)))
                spent.append(1000 * (sum(map(cpu_seconds, pids)) - before) / count)
                time.sleep(1)
            size = sum(file.stat().st_size for file in (Path(folder) / "stack").glob("*.db*"))
    yield "sqlite.rate", statistics.median(rates[1:])
    yield "sqlite.cpu", statistics.median(spent[1:])
    yield "sqlite.bytes", size / 3200
