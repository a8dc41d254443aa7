"""One function on an emulated Lambda: `python -m local.lambda_emulator NAME`.

The real `awslambdaric` runs its handler. A channel's function is invoked from its queues; an HTTP function gets an HTTP
API on `--port`; `--every` is a schedule. The function's log is this process's output.
"""

import argparse
import os
import signal
import sys
import threading
from datetime import timedelta

from tidings.config.settings import load
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import ConfigurationError
from tidings.messaging import topology
from tidings.observability import logging as tidings_logging
from tidings.runtime.container import build_container

from local.lambda_emulator.environment import Environments, InitError, LambdaFunction
from local.lambda_emulator.gateway import Gateway
from local.lambda_emulator.sources import EventSourceMapping, Schedule

MAX_CONCURRENCY = 4  # invocations of a function


def main() -> int:
    options = _options()
    try:
        tidings_logging.configure(options.name, load(tidings_logging.LogSettings))
        container = build_container()
    except ConfigurationError as error:
        print(f"tidings: {options.name}: {error}", file=sys.stderr)
        return 2
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    environments = Environments(
        LambdaFunction(name=options.name, variables=os.environ, timeout=timedelta(seconds=options.timeout)),
        max_concurrency=MAX_CONCURRENCY,
    )
    queues = topology.work_queues(options.name) if options.name in CHANNELS else ()
    sources: list[EventSourceMapping | Schedule] = [
        EventSourceMapping(
            channel=options.name,
            consume=lambda queue=queue: container.broker.consume([queue]),  # type: ignore[misc]
            invoke=environments.invoke,
        )
        for queue in queues
    ]
    if options.every is not None:
        sources.append(Schedule(every=timedelta(seconds=options.every), invoke=environments.invoke))
    try:
        environments.start()
        _serve(sources, Gateway(options.port, environments.invoke) if options.port is not None else None, stopping)
    except InitError as error:
        print(f"tidings: {options.name}: {error}", file=sys.stderr)
        return 1
    finally:
        environments.close()
        container.close()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.lambda_emulator", description=__doc__)
    parser.add_argument("name", help="a folder below functions/")
    parser.add_argument("--port", type=int, help="port of the HTTP API")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="interval of the schedule")
    parser.add_argument("--timeout", type=float, default=90.0, metavar="SECONDS", help="time-out of the function")
    return parser.parse_args()


def _serve(sources: list[EventSourceMapping | Schedule], gateway: Gateway | None, stopping: threading.Event) -> None:
    threads = [threading.Thread(target=source.run) for source in sources]
    if gateway is not None:
        threads.append(threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.05}))
    for thread in threads:
        thread.start()
    stopping.wait()
    for source in sources:
        source.stop()
    if gateway is not None:
        gateway.shutdown()
        gateway.server_close()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
