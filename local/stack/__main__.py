"""`local/up`: everything on this machine, one notification delivered on every channel, and where to look next."""

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
    """Ctrl-C, SIGTERM, or the terminal was closed."""


def main() -> int:
    options = _options()
    for number in ENDING:
        signal.signal(number, _stop)
    begun = time.monotonic()
    try:
        print("Tidings is starting ...", flush=True)
        with running(options) as stack:
            print(
                f"ready in {time.monotonic() - begun:.1f} s, on {stack.described}\n\nOne notification a channel:",
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
    parser.add_argument("--services", action="store_true", help="on real RabbitMQ and MySQL/MariaDB")
    parser.add_argument("--lambda", dest="on_lambda", action="store_true", help="the functions on an emulated Lambda")
    parser.add_argument(
        "--database-url", default=os.environ.get("TIDINGS_DATABASE_URL"), help="with --services: use this"
    )
    parser.add_argument("--broker-url", default=os.environ.get("TIDINGS_BROKER_URL"), help="with --services: use this")
    parser.add_argument("--port", type=int, default=8080, help="the first of seven in a row; 0: any free ones")
    parser.add_argument("--state", type=Path, default=Path(".tidings"), help="where data, logs and secrets are kept")
    parser.add_argument("--json", action="store_true", help="log JSON lines, as in production, in place of text")
    chosen = parser.parse_args()
    return Options(
        state=chosen.state,
        first_port=chosen.port,
        use_services=chosen.services,
        on_lambda=chosen.on_lambda,
        database_url=chosen.database_url,
        broker_url=chosen.broker_url,
        environment={"TIDINGS_LOG_FORMAT": "json" if chosen.json else "text", "TIDINGS_METRICS": "prometheus"},
    )


def _stop(*_: object) -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # once is enough: what is under way is finished
    with contextlib.suppress(OSError):  # nobody reads a closed terminal
        os.write(sys.stdout.fileno(), b"\nstopping ...\n")  # print may be under way
    raise Stop


def _watch(stack: Stack) -> int:
    while (ended := stack.processes.ended()) is None:
        time.sleep(0.5)
    print(f"local/up: {ended} ended by itself:\n{tail(stack.processes.log(ended))}", file=sys.stderr)
    return 1


def _print(stack: Stack, *, sent: bool) -> None:
    env = stack.state.env_file
    outcome = "All three were sent." if sent else f"Not all were sent; the logs are in {stack.state.logs}."
    print(
        f"""{outcome}

  API        {stack.url}   (read it, try it: /docs)
  Console    {stack.ops_url}/console/   (sign in with the API key below)
  Inbox      {stack.inbox_url}   (what arrived: open it in a browser)
  API key    {stack.secrets.api_key}
  Logs       {stack.state.logs}
  Scripts    set -a; source {env}

Try next, in another terminal:

  1. Send one yourself:
       set -a; source {env}
       curl -s $TIDINGS_URL/v1/notifications -H "Authorization: Bearer $TIDINGS_API_KEY" \\
         -d '{{"channel": "sms", "recipient": "+15005550010", "content": {{"text": "Hello"}}}}'
  2. Let the next two mails fail, send one, and watch it climb the retry ladder:
       curl -s $TIDINGS_INBOX_URL/failures.json -d '{{"channel": "email", "next": 2, "status": 451}}'
       curl -s $TIDINGS_URL/v1/notifications -H "Authorization: Bearer $TIDINGS_API_KEY" \\
         -d '{{"channel": "email", "recipient": "ada@example.com", "content": {{"subject": "Hi", "text": "Hello"}}}}'
  3. Make a dead letter (a number that cannot receive), and see it in the console, or here, and what a replay would do:
       curl -s $TIDINGS_URL/v1/notifications -H "Authorization: Bearer $TIDINGS_API_KEY" \\
         -d '{{"channel": "sms", "recipient": "+15005550009", "content": {{"text": "Hello"}}}}'
       .venv/bin/tidings dead list
       .venv/bin/tidings dead replay --dry-run
  4. Let the doctor look at everything that must be right, with the functions' settings:
       (set -a; source {stack.state.functions_file}; .venv/bin/tidings doctor)

Ctrl-C stops everything; the data stay.""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
