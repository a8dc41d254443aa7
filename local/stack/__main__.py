"""`local/up`: start everything on this machine, send one notification per channel, and print what to try next."""

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from local.services.process import ServiceError, tail
from local.stack import demo
from local.stack.stack import Options, Stack, running

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop(Exception):
    """Ctrl-C, SIGTERM, or a closed terminal."""


def main() -> int:
    options = _options()
    for number in ENDING:
        signal.signal(number, _stop)
    begun = time.monotonic()
    try:
        print("Tidings is starting ...", flush=True)
        with running(options) as stack:
            print(
                f"ready in {time.monotonic() - begun:.1f} s, on {stack.described}\n\nOne notification per channel:",
                flush=True,
            )
            sent = demo.show(stack)
            stack.write_env()
            _print(stack, sent=sent)
            return _watch(stack)
    except Stop:
        with contextlib.suppress(OSError):
            print("stopped.", flush=True)
        return 0
    except ServiceError as error:
        print(f"local/up: {error}", file=sys.stderr)
        return 1


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="local/up", description=__doc__)
    parser.add_argument("--services", action="store_true", help="run on RabbitMQ and MySQL/MariaDB instead of SQLite")
    parser.add_argument(
        "--lambda", dest="on_lambda", action="store_true", help="run the functions on an emulated Lambda"
    )
    parser.add_argument(
        "--database-url", default=os.environ.get("TIDINGS_DATABASE_URL"), help="with --services: use this database"
    )
    parser.add_argument(
        "--broker-url", default=os.environ.get("TIDINGS_BROKER_URL"), help="with --services: use this broker"
    )
    parser.add_argument("--port", type=int, default=8080, help="first of ten consecutive ports; 0: any free ports")
    parser.add_argument("--state", type=Path, default=Path(".tidings"), help="folder for data, logs and secrets")
    parser.add_argument("--json", action="store_true", help="log JSON lines, as in production, instead of text")
    chosen = parser.parse_args()
    return Options(
        state=chosen.state,
        first_port=chosen.port,
        use_services=chosen.services,
        on_lambda=chosen.on_lambda,
        receipts=True,
        database_url=chosen.database_url,
        broker_url=chosen.broker_url,
        environment={"TIDINGS_LOG_FORMAT": "json" if chosen.json else "text", "TIDINGS_METRICS": "prometheus"},
    )


def _stop(*_: object) -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # ignore further signals while stopping
    with contextlib.suppress(OSError):  # the terminal may be closed
        os.write(sys.stdout.fileno(), b"\nstopping ...\n")  # not print(), which this signal may have interrupted
    raise Stop


def _watch(stack: Stack) -> int:
    while (ended := stack.processes.ended()) is None:
        time.sleep(0.5)
    print(f"local/up: {ended} ended unexpectedly:\n{tail(stack.processes.log(ended))}", file=sys.stderr)
    return 1


def _print(stack: Stack, *, sent: bool) -> None:
    env = stack.state.env_file
    outcome = "All were sent." if sent else f"Not all were sent; see the logs in {stack.state.logs}."
    print(
        f"""{outcome}

  API        {stack.url}   (documentation: /docs)
  Console    {stack.ops_url}/console/   (sign in with the API key below)
  Inbox      {stack.inbox_url}   (received messages; open it in a browser)
  API key    {stack.secrets.api_key}
  Logs       {stack.state.logs}
  Scripts    set -a; source {env}

Try next, in another terminal:

  1. Send one yourself:
       set -a; source {env}
       curl -s $TIDINGS_URL/v1/notifications -H "Authorization: Bearer $TIDINGS_API_KEY" \\
         -d '{{"channel": "sms", "recipient": "+15005550010", "content": {{"text": "Hello"}}}}'
  2. Let the next two emails fail, send one, and watch it being retried:
       curl -s $TIDINGS_INBOX_URL/failures.json -d '{{"channel": "email", "next": 2, "status": 451}}'
       curl -s $TIDINGS_URL/v1/notifications -H "Authorization: Bearer $TIDINGS_API_KEY" \\
         -d '{{"channel": "email", "recipient": "ada@example.com", "content": {{"subject": "Hi", "text": "Hello"}}}}'
  3. Make a dead letter (a number that cannot receive SMS), and look at it in the console or here:
       curl -s $TIDINGS_URL/v1/notifications -H "Authorization: Bearer $TIDINGS_API_KEY" \\
         -d '{{"channel": "sms", "recipient": "+15005550009", "content": {{"text": "Hello"}}}}'
       .venv/bin/tidings dead list
       .venv/bin/tidings dead replay --dry-run
  4. Check everything with `tidings doctor`, with the functions' settings:
       (set -a; source {stack.state.functions_file}; .venv/bin/tidings doctor)

Ctrl-C stops everything; the data are kept.""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
