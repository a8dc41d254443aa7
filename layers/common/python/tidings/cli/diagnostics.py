"""The checks of `tidings doctor`, each with a remedy."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from tidings.api.api_keys import KeySettings
from tidings.api.submit import MAX_CONTENT
from tidings.config.settings import load
from tidings.domain.channels import CHANNELS
from tidings.domain.errors import BrokerUnavailable, ConfigurationError, StoreUnavailable
from tidings.messaging import topology
from tidings.migrate import MigrationSettings, is_later, versions
from tidings.pipeline.suppression import Enforcement
from tidings.providers.callbacks import CallbackSettings
from tidings.runtime.container import Container, SuppressionSettings, build_container, utc_now

State = Literal["ok", "warning", "wrong"]

START_WITHIN = 60  # seconds to load a function and check its provider
WRONG_SETTING = 2  # the exit code of a function with a wrong setting, see runtime.start
LARGEST_STATEMENT = 16 * 1024 * 1024  # bytes: MAX_CONTENT and the rest of the statement
MAX_CLOCK_DIFFERENCE = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the output. `remedy`: what to do, if anything."""

    name: str
    state: State
    text: str
    remedy: str | None = None


def ok(name: str, text: str) -> Finding:
    return Finding(name=name, state="ok", text=text)


def wrong(name: str, text: object, remedy: str) -> Finding:
    return Finding(name=name, state="wrong", text=str(text), remedy=remedy)


def warning(name: str, text: str, remedy: str) -> Finding:
    return Finding(name=name, state="warning", text=text, remedy=remedy)


# --- functions and their providers ------------------------------------------------------------------------------------


def functions(folder: Path, names: Sequence[str]) -> Iterator[Finding]:
    """Load each function in its own process, as its runtime does, to find what would stop its start."""
    there = sorted(main.parent.name for main in folder.glob("*/main.py"))
    if not there:
        yield warning(
            "functions",
            f"there are none in {folder}: their settings and providers were not checked",
            "run doctor where the functions run, or give their folder with --functions",
        )
        return
    wanted = names or [name for name in there if name != "receipts" or _takes_receipts()]
    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(lambda name: _function(folder, name, name in there), wanted):
            yield from found


def _takes_receipts() -> bool:
    """An installation may do without the function `receipts`. A wrong setting is then its function's to report."""
    return bool(os.environ.get(CallbackSettings.variable("receipts_url")))


def _function(folder: Path, name: str, is_there: bool) -> Sequence[Finding]:
    if not is_there:
        return [
            wrong(
                name,
                f"there is no {folder / name / 'main.py'}",
                "give another function, or their folder with --functions",
            )
        ]
    command = [sys.executable, "-m", "tidings.cli.load_function", str(folder), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        return [wrong(name, f"not loaded and checked within {START_WITHIN} s", "is the provider reachable from here?")]
    if done.returncode != 0:
        return [_not_loaded(name, done.returncode, done.stderr)]
    report = json.loads(done.stdout.splitlines()[-1])
    return [ok(f"{name}: settings", "complete"), *_provider(f"{name}: {report['provider']}", report)]


def _not_loaded(name: str, code: int, output: str) -> Finding:
    last = (output.strip().splitlines() or ["it ended without output"])[-1]
    if code == WRONG_SETTING:
        return wrong(f"{name}: settings", last.removeprefix(f"tidings: {name}: "), "correct this environment variable")
    if last.startswith("ModuleNotFoundError: "):
        return wrong(
            name,
            last,
            f"install its requirements; if {name} does not run here, give the names of the functions that do",
        )
    # The message of an unexpected exception may hold a secret.
    return wrong(
        name,
        f"it did not load: {last.partition(':')[0]}",
        f"python -m tidings.cli.load_function FOLDER {name} shows the whole error",
    )


def _provider(name: str, report: dict[str, object]) -> Iterator[Finding]:
    if "error" in report:
        is_account = report["account"]
        remedy = "check the provider's credentials" if is_account else "check the provider's address and the network"
        yield wrong(name, report["error"], remedy)
    elif report["answer"] is not None:
        yield ok(name, str(report["answer"]))


def keys() -> Iterator[Finding]:
    """Check the API keys if there are any. A function that needs them reports missing ones itself."""
    try:
        known = load(KeySettings).api_keys
    except ConfigurationError:
        return
    for key in known:
        if key.unknown:
            text = f"a key of {key.tenant} has scopes that this release does not know: {' '.join(key.unknown)}"
            yield warning(
                "keys", text, "correct them, unless they are meant for a later release; this release ignores them"
            )


def unsubscribing(folder: Path, names: Sequence[str]) -> Iterator[Finding]:
    """What an operator must know about the links by which recipients unsubscribe, where mails are sent."""
    if not (folder / "email/main.py").exists() or (names and "email" not in names):
        return
    try:
        base = load(CallbackSettings).base
        enforcement = load(SuppressionSettings).suppression
    except ConfigurationError:
        return  # the function `email` reports it
    if base is None:
        yield ok("unsubscribe", "mails with a category get no link to unsubscribe: TIDINGS_RECEIPTS_URL is not set")
    elif enforcement is not Enforcement.ON:
        yield warning(
            "unsubscribe",
            f"recipients who unsubscribe still get mail: TIDINGS_SUPPRESSION is {enforcement}",
            "set TIDINGS_SUPPRESSION=on where mails have a category",
        )
    elif not base.startswith("https://"):
        yield warning(
            "unsubscribe",
            "mails with a category get a link without TLS, which mail programs do not call (RFC 8058)",
            "let TIDINGS_RECEIPTS_URL begin with https://",
        )
    else:
        yield ok(
            "unsubscribe",
            f"mails with a category get a link to {base}; the DKIM signature of your mail server must cover"
            " List-Unsubscribe and List-Unsubscribe-Post, or mail programs show no button (RFC 8058)",
        )


# --- the database -----------------------------------------------------------------------------------------------------


def services() -> Iterator[Finding]:
    """The database, then the broker."""
    try:
        container = build_container()
    except ConfigurationError as error:
        yield wrong("database and broker: settings", error, "correct this environment variable")
        return
    try:
        yield from _database(container)
        yield from _broker(container)
    finally:
        container.close()


def _database(container: Container) -> Iterator[Finding]:
    url = container.database.database_url
    file = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None
    if file is not None and not Path(file).exists():
        yield wrong(
            "database", f"there is no {file}", "python -m tidings.migrate creates it; check TIDINGS_DATABASE_URL"
        )
        return
    try:
        yield from _clock(container)
        yield from _statements(container)
        yield from _writers(container)
    except StoreUnavailable as error:
        yield wrong("database", error, "is it running? Check TIDINGS_DATABASE_URL")
        return
    try:
        present, ours = versions(container.database, load(MigrationSettings).migrations)
    except ConfigurationError as error:
        yield warning("schema", str(error), "set TIDINGS_MIGRATIONS to check the schema's version")
    else:
        if present == ours:
            yield ok("schema", f"{ours}, as this release needs")
            yield from _accounts(container)
        elif is_later(present, ours):
            yield ok("schema", f"{present}, of a later release; this release needs {ours}")
        else:
            yield wrong(
                "schema", f"{present or 'there is none'}; this release needs {ours}", "python -m tidings.migrate"
            )


def _accounts(container: Container) -> Iterator[Finding]:
    """What the workers know about each provider account; `functions` asks the providers again."""
    for one in container.store.connections():
        name = f"account: {one.name}"
        if one.refusing_at is None:
            yield ok(name, "accepts our account")
            continue
        yield wrong(
            name,
            f"refuses our account since {one.refusing_at:%Y-%m-%d %H:%M} UTC ({one.error_code}: {one.error_message})",
            f"fix the account or its settings; {one.channel} resumes by itself within a minute",
        )


def _clock(container: Container) -> Iterator[Finding]:
    container.database_time()  # connect first, so that connecting is not measured
    before = utc_now()
    theirs = container.database_time()
    difference = _difference(before, theirs, utc_now())
    yield ok("database", "answers")
    if difference > MAX_CLOCK_DIFFERENCE:
        yield warning(
            "clock",
            f"the clocks of the database and of this machine differ by {difference.total_seconds():.1f} s",
            "synchronize both with NTP; due times follow the database's clock",
        )
    else:
        yield ok("clock", "the clocks of the database and of this machine agree")


def _statements(container: Container) -> Iterator[Finding]:
    """Compare the database's largest statement with the largest notification that the intake accepts."""
    limit, needed = container.largest_statement(), LARGEST_STATEMENT
    if limit is not None and limit < needed:
        yield warning(
            "max_allowed_packet",
            f"{limit} bytes: a larger notification is refused with 413 (too_large_for_database), though Tidings accepts"
            f" {MAX_CONTENT}",
            f"set max_allowed_packet to {needed} or more in the database's configuration",
        )
    elif limit is not None:
        yield ok("max_allowed_packet", f"{limit} bytes, enough for the largest notification")


def _writers(container: Container) -> Iterator[Finding]:
    """The feed of events waits for its writers with locks, which are of one node."""
    if (step := container.numbering_step()) > 1:
        yield warning(
            "writers",
            f"the database numbers in steps of {step} (auto_increment_increment), as a cluster does in which several"
            " nodes take writes",
            "connect all of Tidings to one node, or the feed of events may skip some; there, set the step to 1 (Galera:"
            " wsrep_auto_increment_control=OFF)",
        )


def _difference(before: datetime, theirs: datetime, after: datetime) -> timedelta:
    """How far `theirs` lies outside the interval in which it was read."""
    return max(before - theirs, theirs - after, timedelta())


# --- the broker -------------------------------------------------------------------------------------------------------


def _broker(container: Container) -> Iterator[Finding]:
    if container.broker_settings.broker_url is None:
        yield ok("broker", "embedded, in the database; TIDINGS_BROKER_URL is not set")
        return
    try:
        container.broker.check()
        yield ok("broker", "answers")
        yield from _topology(container)
    except BrokerUnavailable as error:
        yield wrong("broker", error, "is it running, and may this user use its virtual host? Check TIDINGS_BROKER_URL")


def _topology(container: Container) -> Iterator[Finding]:
    differences = container.topology_differences()
    for difference in differences:
        missing = difference.endswith("is missing")
        remedy = "the first trigger or message declares it" if missing else "drain it, delete it, start the trigger"
        yield wrong("topology", difference, remedy)
    if differences:
        return
    yield ok("topology", "every exchange and queue is declared correctly")
    for channel in CHANNELS:
        queues = topology.work_queues(channel)
        depths = container.broker.depths(queues)
        waiting = sum(depths[queue].ready for queue in queues)
        if all(depths[queue].consumers == 0 for queue in queues):
            yield warning(
                f"trigger: {channel}", f"its queues have no consumer; {waiting} messages wait", "start its trigger"
            )
        else:
            yield ok(f"trigger: {channel}", f"consumes its queues; {waiting} messages wait")


def proxies() -> Iterator[Finding]:
    """Warn of a proxy in the environment: providers are called through it, even one on this machine."""
    named = [name for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy") if os.environ.get(name)]
    if named:
        yield warning(
            "proxy", f"{', '.join(named)} is set", "providers are called through it, unless NO_PROXY lists them"
        )
