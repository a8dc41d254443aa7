"""The trigger: `python -m tidings.runtime.trigger CHANNEL=FUNCTION_URL...`, one thread a channel."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from tidings.config.settings import Settings, load
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import ConfigurationError, fault_location
from tidings.messaging import topology
from tidings.observability import logging as tidings_logging
from tidings.runtime.container import build_container
from tidings.runtime.invocation import TriggerSettings
from tidings.runtime.trigger.pauses import Pauses
from tidings.runtime.trigger.trigger import Function, Trigger


class BatchSettings(Settings):
    """How the queues are read. Prefix TIDINGS_."""

    formerly: ClassVar[Mapping[str, str]] = {"batch_size": "TIDINGS_BATCH", "concurrent_batches": "TIDINGS_BATCHES"}

    batch_size: int = Field(default=100, ge=1, le=1000, description="maximum number of messages in a batch")
    concurrent_batches: int = Field(
        default=2,
        ge=1,
        le=50,
        description="maximum concurrent batches per channel, plus one reserved for high priority",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("functions", nargs="+", metavar="CHANNEL=URL", help="email=http://127.0.0.1:8091")
    options = parser.parse_args()
    urls = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in options.functions)
    for channel, url in urls.items():
        if channel not in CHANNELS or not url.startswith("http://"):
            parser.error(f"{channel}={url}: give a channel ({', '.join(CHANNELS)}) and an http:// URL")
    tidings_logging.configure("trigger", load(tidings_logging.LogSettings))
    try:
        triggers = [_trigger(channel, url) for channel, url in urls.items()]
    except ConfigurationError as error:
        print(f"tidings: trigger: {error}", file=sys.stderr)
        return 2

    def stop(*_: object) -> None:
        for trigger in triggers:
            trigger.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threads = [threading.Thread(target=_run, args=[trigger], name=trigger.channel) for trigger in triggers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def _trigger(channel: str, url: str) -> Trigger:
    settings = load(BatchSettings)
    container = build_container()
    return Trigger(
        channel=channel,
        consume=lambda: container.broker.consume(topology.work_queues(channel)),
        function=Function(url=url, token=load(TriggerSettings).trigger_token),
        paused=Pauses(container.store, channel),
        batch=settings.batch_size,
        concurrency=settings.concurrent_batches,
    )


def _run(trigger: Trigger) -> None:
    try:
        trigger.run()
    except BaseException as error:
        # A channel that is no longer consumed is a failure: end the process with an error, so that it is restarted. Not
        # by a signal: the first process of a container ignores signals that it does not handle.
        print(f"tidings: trigger: {type(error).__name__} at {fault_location(error)}", file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
