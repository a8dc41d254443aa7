"""Start the emulated providers: python -m local.emulators --smtp-port 2525 --http-port 8025

The first line on standard output has their URLs (port 0 picks a free one). SIGTERM and SIGINT stop them.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from local.emulators import certificate
from local.emulators.server import Emulator, Options
from local.emulators.smtp import IDLE, SIZE_LIMIT


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # aiosmtpd logs a warning at every login, about an attribute that it sets itself.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    try:
        with contextlib.ExitStack() as stack:
            folder = options.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidings-")))
            folder.mkdir(parents=True, exist_ok=True)
            smtp_socket = stack.enter_context(_listen(options.host, options.smtp_port))
            http_socket = stack.enter_context(_listen(options.host, options.http_port))
            tls = _tls(options.smtp_tls, folder)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(options, tls, smtp_socket, http_socket))
    except OSError as error:
        print(f"local.emulators: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(
    options: argparse.Namespace, tls: ssl.SSLContext | None, smtp_socket: socket.socket, http_socket: socket.socket
) -> None:
    smtp_port, http_port = smtp_socket.getsockname()[1], http_socket.getsockname()[1]
    state: Path | None = options.state
    emulator = Emulator(
        Options(
            public_url=options.public_url or f"http://127.0.0.1:{http_port}",
            inbox_file=state / "inbox.jsonl" if state is not None else None,
            inbox_limit=options.inbox_limit,
            calls_limit=options.calls_limit,
            service_account=options.service_account or (state / "service-account.json" if state is not None else None),
            twilio_login=options.twilio_auth,
            smtp_login=options.smtp_auth,
            smtp_tls=tls,
            smtp_size=options.smtp_size,
            smtp_idle=options.smtp_idle,
            bounces_to=options.bounces_to,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, emulator.stop)
    print(f"smtp://{options.host}:{smtp_port} http://{options.host}:{http_port}", flush=True)
    await emulator.run(smtp_socket, http_socket)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound here so that a port in use is reported in one line."""
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def _tls(wanted: list[str] | None, folder: Path) -> ssl.SSLContext | None:
    if wanted is None:
        return None
    if wanted == ["self-signed"]:
        return certificate.context(*certificate.self_signed(folder))
    if len(wanted) != 2:
        raise OSError("--smtp-tls needs a certificate and a key, or the word self-signed")
    return certificate.context(Path(wanted[0]), Path(wanted[1]))


def _login(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    if not user or not password:
        raise argparse.ArgumentTypeError("must be USER:PASSWORD")
    return user, password


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError("must be HOST:PORT")
    return host, _port(port)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("must be a port, 0 to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.emulators", description="Emulated SMTP, Twilio and FCM.")
    add = parser.add_argument
    add("--smtp-port", type=_port, required=True, help="0: any free port")
    add("--http-port", type=_port, required=True, help="Twilio, FCM, the inbox and the failures; 0: any free port")
    add("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    add("--public-url", type=lambda url: url.rstrip("/"), help="URL of the HTTP port for clients, used in token_uri")
    add("--state", type=Path, metavar="DIR", help="folder that keeps the inbox")
    add(
        "--service-account",
        type=Path,
        metavar="FILE",
        help="write the service account here (default DIR/service-account.json)",
    )
    add("--twilio-auth", type=_login, metavar="SID:TOKEN", help="the only login accepted (default: any)")
    add("--smtp-auth", type=_login, metavar="USER:PASSWORD", help="the login required (default: none; any is accepted)")
    add("--smtp-tls", nargs="+", metavar=("CERTIFICATE", "KEY"), help="offer STARTTLS; or the word self-signed")
    add("--smtp-size", type=_positive, default=SIZE_LIMIT, help="maximum bytes of a mail (default 25 MiB)")
    add(
        "--smtp-idle",
        type=_positive,
        default=int(IDLE),
        help="seconds without a command before it disconnects (default 300)",
    )
    add("--bounces-to", type=_address, metavar="HOST:PORT", help="who takes bounces, by LMTP (default: nobody)")
    add("--inbox-limit", type=_positive, default=10_000, help="messages kept (default 10000)")
    add("--calls-limit", type=_positive, default=300_000, help="calls kept (default 300000)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
