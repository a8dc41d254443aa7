"""What the doctor looks at, and what it says is to be done."""

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
from tidings.runtime.container import Container, build_container, utc_now

State = Literal["ok", "warning", "wrong"]

START_WITHIN = 60  # seconds for a function to be loaded and its provider to answer
WRONG_SETTING = 2  # how a function ends then, see runtime.start
LARGEST_STATEMENT = 16 * 1024 * 1024  # bytes; MAX_CONTENT and what stands around it
APART = timedelta(seconds=1)  # what clocks may differ by


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line. `remedy`: what to do, where something is to be done."""

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
    """Each is loaded in a process of its own, as its runtime loads it: what would stop its start, stops it here."""
    there = sorted(main.parent.name for main in folder.glob("*/main.py"))
    if not there:
        yield warning(
            "functions",
            f"there are none in {folder}: their settings and providers were not looked at",
            "run it where they run, or name their folder with --functions",
        )
        return
    wanted = names or there
    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(lambda name: _function(folder, name, name in there), wanted):
            yield from found


def _function(folder: Path, name: str, is_there: bool) -> Sequence[Finding]:
    if not is_there:
        return [
            wrong(name, f"there is no {folder / name / 'main.py'}", "name a function, or its folder with --functions")
        ]
    command = [sys.executable, "-m", "tidings.cli.load_function", str(folder), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_WITHIN, check=False)
    except subprocess.TimeoutExpired:
        return [wrong(name, f"it did not load and ask within {START_WITHIN} s", "is the provider reachable from here?")]
    if done.returncode != 0:
        return [_not_loaded(name, done.returncode, done.stderr)]
    told = json.loads(done.stdout.splitlines()[-1])
    return [ok(f"{name}: settings", "complete"), *_provider(f"{name}: {told['provider']}", told)]


def _not_loaded(name: str, code: int, said: str) -> Finding:
    last = (said.strip().splitlines() or ["it ended without a word"])[-1]
    if code == WRONG_SETTING:
        return wrong(f"{name}: settings", last.removeprefix(f"tidings: {name}: "), "set the variable that it names")
    if last.startswith("ModuleNotFoundError: "):
        return wrong(name, last, f"install what it needs; or where {name} does not run, name those that do")
    # The text of what we did not foresee may hold a secret.
    return wrong(
        name,
        f"it did not load: {last.partition(':')[0]}",
        f"python -m tidings.cli.load_function FOLDER {name} tells more",
    )


def _provider(name: str, told: dict[str, object]) -> Iterator[Finding]:
    if "error" in told:
        remedy = "see the provider's credentials" if told["account"] else "see the provider's address, and the network"
        yield wrong(name, told["error"], remedy)
    elif told["said"] is not None:
        yield ok(name, str(told["said"]))


def keys() -> Iterator[Finding]:
    """Where there are any; whether there must be, the functions say."""
    try:
        known = load(KeySettings).api_keys
    except ConfigurationError:
        return
    for key in known:
        if key.unknown:
            text = f"a key of {key.tenant} has scopes that this release does not know: {' '.join(key.unknown)}"
            yield warning("keys", text, "correct them, unless a later release is to read them: here they grant nothing")


# --- the database -----------------------------------------------------------------------------------------------------


def services() -> Iterator[Finding]:
    """The database, then the broker."""
    try:
        parts = build_container()
    except ConfigurationError as error:
        yield wrong("database and broker: settings", error, "set the variable that it names")
        return
    try:
        yield from _database(parts)
        yield from _broker(parts)
    finally:
        parts.close()


def _database(parts: Container) -> Iterator[Finding]:
    url = parts.database.database_url
    file = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None
    if file is not None and not Path(file).exists():
        yield wrong("database", f"there is no {file}", "python -m tidings.migrate makes it; see TIDINGS_DATABASE_URL")
        return
    try:
        yield from _clock(parts)
        yield from _statements(parts)
    except StoreUnavailable as error:
        yield wrong("database", error, "does it run? See TIDINGS_DATABASE_URL")
        return
    try:
        present, ours = versions(parts.database, load(MigrationSettings).migrations)
    except ConfigurationError as error:
        yield warning("schema", str(error), "its version was not looked at")
    else:
        if present == ours:
            yield ok("schema", f"{ours}, this version's")
            yield from _accounts(parts)
        elif is_later(present, ours):
            yield ok("schema", f"{present}, a later release's; this version's is {ours}")
        else:
            yield wrong(
                "schema", f"{present or 'there is none'}; this version's is {ours}", "python -m tidings.migrate"
            )


def _accounts(parts: Container) -> Iterator[Finding]:
    """What the workers have found out; the functions' own check asks each provider anew."""
    for one in parts.store.connections():
        name = f"account: {one.name}"
        if one.refusing_at is None:
            yield ok(name, "does not refuse our account")
            continue
        yield wrong(
            name,
            f"refuses our account since {one.refusing_at:%Y-%m-%d %H:%M} UTC ({one.error_code}: {one.error_message})",
            f"mend the account or its settings; {one.channel} goes on by itself, within a minute of it",
        )


def _clock(parts: Container) -> Iterator[Finding]:
    parts.database_time()  # connects, which is not to count
    before = utc_now()
    theirs = parts.database_time()
    apart = _apart(before, theirs, utc_now())
    yield ok("database", "answers")
    if apart > APART:
        yield warning(
            "clock",
            f"the database's and this machine's are {apart.total_seconds():.1f} s apart",
            "keep both by NTP; what is due is the database's word",
        )
    else:
        yield ok("clock", "the database's and this machine's agree")


def _statements(parts: Container) -> Iterator[Finding]:
    """What the database takes at once, against the largest notification that the intake takes."""
    limit, needed = parts.largest_statement(), LARGEST_STATEMENT
    if limit is not None and limit < needed:
        yield warning(
            "max_allowed_packet",
            f"{limit} bytes: a larger notification is refused with 413 (too_large_for_database), though Tidings takes"
            f" {MAX_CONTENT}",
            f"set max_allowed_packet to {needed} or more in the database's configuration",
        )
    elif limit is not None:
        yield ok("max_allowed_packet", f"{limit} bytes, enough for the largest notification")


def _apart(before: datetime, theirs: datetime, after: datetime) -> timedelta:
    """How far theirs lies outside of the time in which it was asked."""
    return max(before - theirs, theirs - after, timedelta())


# --- the broker -------------------------------------------------------------------------------------------------------


def _broker(parts: Container) -> Iterator[Finding]:
    if parts.broker_settings.broker_url is None:
        yield ok("broker", "the embedded one, in the database; TIDINGS_BROKER_URL is not set")
        return
    try:
        parts.broker.check()
        yield ok("broker", "answers")
        yield from _topology(parts)
    except BrokerUnavailable as error:
        yield wrong("broker", error, "does it run, and may this user use its virtual host? See TIDINGS_BROKER_URL")


def _topology(parts: Container) -> Iterator[Finding]:
    differences = parts.topology_differences()
    for difference in differences:
        missing = difference.endswith("is missing")
        remedy = (
            "it is declared by the first trigger, or message" if missing else "drain it, delete it, start the trigger"
        )
        yield wrong("topology", difference, remedy)
    if differences:
        return
    yield ok("topology", "every exchange and queue is there, as it should be")
    for channel in CHANNELS:
        queues = topology.work_queues(channel)
        depths = parts.broker.depths(queues)
        waiting = sum(depths[queue].ready for queue in queues)
        if all(depths[queue].consumers == 0 for queue in queues):
            yield warning(f"trigger: {channel}", f"nobody takes from its queues; {waiting} wait", "start its trigger")
        else:
            yield ok(f"trigger: {channel}", f"takes from its queues; {waiting} wait")


def proxies() -> Iterator[Finding]:
    """A proxy of the environment is asked for what is not excepted, also for a provider on this machine."""
    named = [name for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy") if os.environ.get(name)]
    if named:
        yield warning(
            "proxy", f"{', '.join(named)} is set", "providers are asked by way of it, unless NO_PROXY names them"
        )
