"""The command `tidings` as a real process, against a real replay function process."""

import contextlib
import http.server
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import update
from tidings.adapters.sql.database import Database, DatabaseSettings
from tidings.adapters.sql.schema import notifications
from tidings.adapters.sql.store import SqlStore
from tidings.api.api_keys import Scope, new_key
from tidings.domain.errors import AmbiguousError, DeliveryError, PermanentError
from tidings.domain.notification import Notification, Status, new_id
from tidings.messaging.envelope import Message
from tidings.ports import Settlement

from tests.command import Ended, environment, tidings
from tests.functions.served import process
from tests.migrated import migrated

ROOT = Path(__file__).parents[2]
TENANTS = 90  # each test is a tenant of its own
WITHIN = 120.0  # seconds to start, to stop and to answer; everything is far quicker, unless the machine is busy
NOBODY = "127.0.0.1:9"  # no port below 1024 is given to whoever asks for a free one


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One tenant's operator, in a working folder that is empty at first."""

    folder: Path
    tenant: str
    settings: Mapping[str, str]
    store: SqlStore
    database_url: str

    def run(self, *arguments: str, settings: Mapping[str, str] | None = None) -> Ended:
        return tidings(*arguments, folder=self.folder, settings=self.settings if settings is None else settings)

    def on_a_terminal(self, *arguments: str, typed: str) -> Ended:
        """With a terminal to ask on. `out` holds both streams, as a person sees them."""
        ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                _command(arguments),
                cwd=self.folder,
                env=environment(self.settings),
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            os.write(ours, typed.encode())
            out, _ = process.communicate(timeout=WITHIN)
            return Ended(code=process.returncode, out=out, err="")
        finally:
            os.close(ours)
            os.close(theirs)

    def shown_on_a_terminal(self, *arguments: str, columns: int) -> str:
        """What a terminal of this width is sent."""
        ours, theirs = pty.openpty()
        narrow = {**environment(self.settings), "COLUMNS": str(columns)}
        with subprocess.Popen(_command(arguments), cwd=self.folder, env=narrow, stdout=theirs) as process:
            os.close(theirs)
            said = b""
            with contextlib.suppress(OSError):  # Linux says so where the other end was closed
                while part := os.read(ours, 65_536):
                    said += part
            assert process.wait(timeout=WITHIN) == 0
        os.close(ours)
        return said.decode()

    def dead(self, error: DeliveryError, *, recipient: str = "+15005550009", count: int = 1) -> list[str]:
        """Rows whose one attempt ended so: failed, or unknown where the end was ambiguous."""
        status = Status.UNKNOWN if isinstance(error, AmbiguousError) else Status.FAILED
        rows = [self._row(recipient) for _ in range(count)]
        self.store.insert(rows)
        claims = self.store.claim(
            [Message(id=row.id, channel="sms", generation=1) for row in rows], timedelta(minutes=1)
        )
        self.store.settle(
            [
                Settlement(claims=claims, notification=row, status=status, provider="twilio", error=error)
                for row in claims.acquired
            ],
        )
        return [row.id for row in rows]

    def in_doubt(self) -> Notification:
        """One that waits, since its attempt ended without an answer."""
        row = self._row("+15005550009")
        self.store.insert([row])
        self.end(row, Status.RETRYING, TIMED_OUT)
        return row

    def end(self, row: Notification, status: Status, error: DeliveryError) -> None:
        """Its next attempt."""
        claims = self.store.claim([Message(id=row.id, channel="sms", generation=1)], timedelta(minutes=1))
        delay = timedelta(0) if status is Status.RETRYING else None
        ends = [
            Settlement(claims=claims, notification=one, status=status, provider="twilio", error=error, delay=delay)
            for one in claims.acquired
        ]
        assert ends
        self.store.settle(ends)

    def never_queued(self) -> str:
        """A row that was committed a minute ago, just before its intake died."""
        earlier = SqlStore(
            Database(
                DatabaseSettings(database_url=self.database_url), clock=lambda: datetime.now(UTC) - timedelta(minutes=1)
            )
        )
        row = self._row("+15005550010")
        earlier.insert([row])
        earlier.close()
        return row.id

    def change(self, id: str, **values: object) -> None:
        """Behind the back of the Store."""
        with self.store.database.engine.begin() as connection:
            connection.execute(update(notifications).where(notifications.c.id == id).values(**values))

    def now(self, id: str) -> Notification:
        found = self.store.get(self.tenant, id)
        assert found is not None
        return found

    def _row(self, recipient: str) -> Notification:
        now = datetime.now(UTC)
        return Notification(
            id=new_id(now),
            tenant=self.tenant,
            channel="sms",
            recipient=recipient,
            content='{"text": "Hello"}',
            created_at=now,
            updated_at=now,
        )


@dataclass(frozen=True, kw_only=True)
class Replay:
    url: str
    database_url: str
    store: SqlStore
    operators: Iterator[tuple[str, str]]  # a tenant and its key


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    folder = tmp_path_factory.mktemp("replay")
    database_url = migrated(f"sqlite:///{folder}/tidings.db").database_url
    made = {f"t{number}": new_key(f"t{number}", list(Scope)) for number in range(TENANTS)}
    settings = {
        "TIDINGS_DATABASE_URL": database_url,
        "TIDINGS_API_KEYS": " ".join(str(kept) for _, kept in made.values()),
    }
    store = SqlStore(Database(DatabaseSettings(database_url=database_url)))
    with process("replay", settings, folder) as running:
        operators = iter([(tenant, key) for tenant, (key, _) in made.items()])
        yield Replay(url=running.url, database_url=database_url, store=store, operators=operators)
    store.close()


@pytest.fixture
def operator(replay: Replay, tmp_path: Path) -> Operator:
    tenant, key = next(replay.operators)
    return Operator(
        folder=tmp_path,
        tenant=tenant,
        settings={"TIDINGS_OPS_URL": replay.url, "TIDINGS_API_KEY": key},
        store=replay.store,
        database_url=replay.database_url,
    )


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "tidings.cli", *arguments]


NO_MOBILE = PermanentError("21614", "not a mobile number")
OPTED_OUT = PermanentError("21610", "opted out")
TIMED_OUT = AmbiguousError("timeout", "no answer")


# --- dead letters -----------------------------------------------------------------------------------------------------


def test_the_list_shows_each_dead_letter_with_its_reason_in_aligned_columns(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    (unknown,) = operator.dead(TIMED_OUT, recipient="+4915112345678")
    answer = operator.run("dead", "list")
    assert (answer.code, answer.err) == (0, "")
    head, first, second = answer.out.splitlines()
    assert first.startswith(unknown)
    assert second.startswith(failed)
    for column, cells in {
        "STATUS": ("unknown", "failed"),
        "RECIPIENT": ("+4915112345678", "+15005550009"),
        "CODE": ("timeout", "21614"),
        "REASON": ("no answer", "not a mobile number"),
    }.items():
        at = head.index(column)
        assert first[at:].startswith(cells[0])
        assert second[at:].startswith(cells[1])


def test_every_filter_narrows_the_list(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    (opted_out,) = operator.dead(OPTED_OUT)
    (unknown,) = operator.dead(TIMED_OUT)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    def listed(*filters: str) -> list[str]:
        return [item["id"] for item in operator.run("dead", "list", "--json", *filters).document["notifications"]]

    assert listed() == [unknown, opted_out, failed]
    assert listed("--status", "failed") == [opted_out, failed]
    assert listed("--code", "21614") == [failed]
    assert listed("--channel", "sms", "--limit", "2") == [unknown, opted_out]
    assert listed("--channel", "email") == []
    assert listed("--since", tomorrow) == []
    assert listed("--until", tomorrow) == [unknown, opted_out, failed]


def test_a_list_that_is_longer_than_a_page_of_the_api_is_whole(operator: Operator) -> None:
    ids = operator.dead(NO_MOBILE, count=203)
    answer = operator.run("dead", "list", "--json", "--limit", "500")
    assert sorted(item["id"] for item in answer.document["notifications"]) == sorted(ids)


def test_a_list_that_was_cut_says_so(operator: Operator) -> None:
    operator.dead(NO_MOBILE, count=3)
    answer = operator.run("dead", "list", "--limit", "2")
    assert len(answer.out.splitlines()) == 3
    assert "There are more" in answer.err


def test_an_empty_list_says_so(operator: Operator) -> None:
    answer = operator.run("dead", "list")
    assert (answer.code, answer.out) == (0, "No dead letters match.\n")


def test_what_a_provider_wrote_cannot_drive_the_terminal(operator: Operator) -> None:
    operator.dead(PermanentError("x", "red \x1b[31m\nand a second line"))
    answer = operator.run("dead", "list")
    assert "\x1b" not in answer.out
    assert len(answer.out.splitlines()) == 2


def test_a_reader_that_has_seen_enough_is_no_error(operator: Operator) -> None:
    operator.dead(NO_MOBILE, count=200)
    pipe = f"{' '.join(_command(['dead', 'list', '--json', '--limit', '200']))} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", pipe],
        cwd=operator.folder,
        env=environment(operator.settings),
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


# --- the books --------------------------------------------------------------------------------------------------------


def test_the_ledger_has_a_column_for_each_status_that_occurs(operator: Operator) -> None:
    assert operator.run("ledger").out == "No notifications on these days.\n"
    operator.dead(NO_MOBILE, count=3)
    operator.dead(TIMED_OUT)
    answer = operator.run("ledger", "--days", "2")
    assert (answer.code, answer.err) == (0, "")
    head, *lines = answer.out.splitlines()
    assert head.split() == ["DAY", "CHANNEL", "ACCEPTED", "FAILED", "UNKNOWN", "DELETED", "AMBIGUOUS"]
    cells = [line.split(maxsplit=6)[1:] for line in lines]
    assert cells == [["sms", "4", "3", "1", "0", "1 twilio timeout"]]
    assert operator.run("ledger", "--until", "2026-11-31").code == 2
    (line,) = operator.run("ledger", "--json").document["lines"]
    assert (line["accepted"], line["statuses"]["failed"], line["statuses"]["sent"]) == (4, 3, 0)


def test_an_audit_that_finds_nothing_ends_with_0(operator: Operator) -> None:
    operator.dead(NO_MOBILE, count=1001)
    answer = operator.run("audit")
    assert (answer.code, answer.out, answer.err) == (0, "Nothing found in 1001 notifications.\n", "")
    assert operator.run("audit", "--json").document == {"checked": 1001, "skipped": 0, "findings": []}


def test_an_audit_that_finds_something_names_it_and_ends_with_1(operator: Operator) -> None:
    first, *_, last = operator.dead(NO_MOBILE, count=1001)
    for id in (first, last):  # on different pages
        operator.change(id, status="sent")
    answer = operator.run("audit")
    assert answer.code == 1
    head, *lines = answer.out.splitlines()
    assert head.split() == ["ID", "RULE", "DETAIL"]
    found = {tuple(line.split()[:2]) for line in lines}
    assert found == {(id, rule) for id in (first, last) for rule in ("status", "acceptance")}
    assert answer.err.startswith("4 findings in 1001 notifications.")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    narrowed = operator.run("audit", "--since", tomorrow, "--json")
    assert (narrowed.code, narrowed.document["checked"]) == (0, 0)


def test_a_row_that_could_not_be_judged_is_told(operator: Operator) -> None:
    (id,) = operator.dead(NO_MOBILE)
    operator.change(id, status="rerouted")
    answer = operator.run("audit")
    assert (answer.code, answer.out) == (0, "Nothing found in 0 notifications.\n")
    assert answer.err.startswith("1 were not judged")


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_and_changes_nothing(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    (unknown,) = operator.dead(TIMED_OUT)
    answer = operator.run("dead", "replay", "--dry-run")
    assert answer.code == 0
    assert answer.out.startswith("1 would be replayed.\n1 more are unknown and may have arrived: --status unknown")
    assert failed in answer.out
    named = operator.run("dead", "replay", "--dry-run", "--status", "unknown")
    assert named.out.startswith("1 would be replayed.\n1 of them may be sent twice")
    assert operator.now(failed).status is Status.FAILED
    assert operator.now(unknown).status is Status.UNKNOWN


def test_a_dry_run_says_where_the_limit_cuts(operator: Operator) -> None:
    operator.dead(NO_MOBILE, count=3)
    answer = operator.run("dead", "replay", "--dry-run", "--limit", "2")
    assert answer.out.startswith("3 match; the 2 oldest would be replayed")


def test_replay_leaves_out_what_is_unknown_unless_it_is_named(operator: Operator) -> None:
    (unknown,) = operator.dead(TIMED_OUT)
    answer = operator.run("dead", "replay", unknown, "--yes")
    assert answer.out == "0 replayed.\n1 more are unknown and may have arrived: --status unknown replays them.\n"
    assert operator.now(unknown).status is Status.UNKNOWN
    assert operator.run("dead", "replay", unknown, "--status", "unknown", "--yes").out == "1 replayed.\n"


def test_replay_takes_a_new_expiry(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    assert operator.run("dead", "replay", failed, "--expires", "2026-01-01T00:00:00Z", "--yes").code == 1
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert operator.run("dead", "replay", failed, "--expires", later, "--yes").out == "1 replayed.\n"


def test_cancel_works_at_the_operators_address_too(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    operator.run("dead", "replay", failed, "--yes")
    url = operator.settings["TIDINGS_OPS_URL"]
    answer = operator.run("cancel", failed, "--url", url)
    assert (answer.code, answer.out, answer.err) == (0, f"{failed} is canceled.\n", "")


def test_a_doubt_is_told_wherever_a_state_is_shown(operator: Operator) -> None:
    (plain,) = operator.dead(NO_MOBILE)
    canceled, failed = operator.in_doubt(), operator.in_doubt()
    operator.end(failed, Status.FAILED, NO_MOBILE)
    at = ("--url", operator.settings["TIDINGS_OPS_URL"])
    said = "canceled (may have been sent)"
    assert operator.run("cancel", canceled.id, *at).out == f"{canceled.id} is {said}.\n"
    assert operator.run("status", canceled.id, *at).out.splitlines()[-1].endswith(said)
    followed = operator.run("status", canceled.id, "--follow", *at)
    assert (followed.code, f"{canceled.id} is {said}: timeout" in followed.err) == (4, True)
    late = operator.run("cancel", failed.id, *at)
    assert "Its status is failed (may have been sent);" in late.err
    found = {line.split()[0]: line for line in operator.run("list", *at).out.splitlines()}
    assert said in found[canceled.id]
    assert "failed (may have been sent)" in found[failed.id]
    assert "may have been sent" not in found[plain]
    dead = {line.split()[0]: line for line in operator.run("dead", "list").out.splitlines()}
    assert "failed (may have been sent)" in dead[failed.id]
    assert "may have been sent" not in dead[plain]
    shown = operator.run("dead", "show", failed.id).out
    assert re.search(r"^status +failed \(may have been sent\)$", shown, re.MULTILINE)
    assert shown.splitlines()[-1].count("may have been sent") == 1


def test_what_was_replayed_is_followed_to_its_end_with_its_doubt(operator: Operator) -> None:
    row = operator.in_doubt()
    operator.end(row, Status.FAILED, NO_MOBILE)
    answer = operator.run("dead", "replay", row.id, "--yes", "--follow", "--within", "0.1")
    assert answer.code == 4
    assert "Of 1: 1 pending.\n1 of those not sent may have been sent" in answer.err


def test_where_a_dry_run_finds_nothing_nothing_is_replayed(operator: Operator) -> None:
    """What fails meanwhile was not asked about."""
    answer = operator.on_a_terminal("dead", "replay", typed="")
    assert "0 would be replayed." in answer.out
    assert "Nothing was replayed." in answer.out
    assert "0 replayed." not in answer.out


def test_replay_sets_back_what_was_named_and_nothing_else(operator: Operator) -> None:
    first, second, third = operator.dead(NO_MOBILE, count=3)
    answer = operator.run("dead", "replay", first, second, "--yes")
    assert (answer.code, answer.out, answer.err) == (0, "2 replayed.\n", "")
    assert [operator.now(id).status for id in (first, second, third)] == [Status.PENDING, Status.PENDING, Status.FAILED]
    assert operator.now(first).generation == 2


def test_replay_by_filter_keeps_to_the_filter_and_the_limit_oldest_first(operator: Operator) -> None:
    (opted_out,) = operator.dead(OPTED_OUT)
    oldest, newer = operator.dead(NO_MOBILE)[0], operator.dead(NO_MOBILE)[0]
    answer = operator.run("dead", "replay", "--code", "21614", "--limit", "1", "--yes", "--json")
    assert answer.document["ids"] == [oldest]
    assert [operator.now(id).status for id in (opted_out, newer)] == [Status.FAILED, Status.FAILED]


def test_a_second_replay_of_the_same_ids_does_nothing_and_says_so(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    operator.run("dead", "replay", failed, "--yes")
    answer = operator.run("dead", "replay", failed, "--yes")
    assert answer.code == 0
    assert answer.out.startswith("0 replayed.\n1 of the given ids are not dead letters")
    assert operator.now(failed).generation == 2


def test_a_rate_spreads_the_replay_over_seconds(operator: Operator) -> None:
    operator.dead(NO_MOBILE, count=3)
    answer = operator.run("dead", "replay", "--rate", "1", "--yes")
    assert answer.code == 0
    assert answer.out.startswith("3 replayed, 1 of them queued now")


def test_without_a_terminal_replay_refuses_and_names_yes(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    answer = operator.run("dead", "replay")
    assert (answer.code, answer.out) == (2, "")
    assert "--yes" in answer.err
    assert operator.now(failed).status is Status.FAILED


@pytest.mark.parametrize(("typed", "status"), [("y\n", Status.PENDING), ("n\n", Status.FAILED), ("\n", Status.FAILED)])
def test_on_a_terminal_replay_shows_the_count_and_asks(operator: Operator, typed: str, status: Status) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    answer = operator.on_a_terminal("dead", "replay", typed=typed)
    assert answer.code == 0
    assert "1 would be replayed." in answer.out
    assert "Replay? [y/N]" in answer.out
    assert operator.now(failed).status is status


# --- resolve ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "status"), [("--sent", Status.SENT), ("--replay", Status.PENDING)])
def test_an_operator_decides_about_one_that_is_unknown(operator: Operator, flag: str, status: Status) -> None:
    (unknown,) = operator.dead(TIMED_OUT)
    doubt = " (may have been sent)" if status is Status.PENDING else ""
    for _ in range(2):
        answer = operator.run("dead", "resolve", unknown, flag)
        assert (answer.code, answer.out, answer.err) == (0, f"{unknown} is {status}{doubt}.\n", "")
    assert operator.now(unknown).status is status


def test_what_is_not_unknown_is_not_resolved(operator: Operator) -> None:
    (failed,) = operator.dead(NO_MOBILE)
    answer = operator.run("dead", "resolve", failed, "--sent")
    assert (answer.code, answer.out) == (1, "")
    assert "only unknown can be resolved" in answer.err


@pytest.mark.parametrize("flags", [(), ("--sent", "--replay")])
def test_a_decision_is_one_of_two(operator: Operator, flags: tuple[str, ...]) -> None:
    (unknown,) = operator.dead(TIMED_OUT)
    assert operator.run("dead", "resolve", unknown, *flags).code == 2
    assert operator.now(unknown).status is Status.UNKNOWN


# --- sweep and keys ---------------------------------------------------------------------------------------------------


def test_sweep_queues_what_was_never_queued(operator: Operator) -> None:
    id = operator.never_queued()
    answer = operator.run("sweep")
    assert answer.code == 0
    assert re.search(r"^published +[1-9]", answer.out, re.MULTILINE)
    assert operator.now(id).queued_at is not None


def test_sweep_as_json_has_every_count(operator: Operator) -> None:
    counts = operator.run("sweep", "--json").document
    assert set(counts) == {"published", "waiting", "abandoned", "lettered", "expired", "given_up", "refused", "purged"}


def test_a_channel_is_paused_and_goes_on(operator: Operator) -> None:
    paused = operator.run("pause", "email")
    assert paused.code == 0
    assert re.fullmatch(r"email is paused since \S+Z\.\n", paused.out)
    assert set(operator.store.paused()) == {"email"}
    assert operator.run("resume", "email", "--json").document == {"channel": "email", "paused": False}
    assert operator.store.paused() == {}
    assert operator.run("pause", "fax").code == 2


def test_a_created_key_opens_what_its_scope_says_and_no_more(operator: Operator, tmp_path: Path) -> None:
    send = operator.run("keys", "create", "shop", "send", "--json", settings={}).document
    both = operator.run("keys", "create", "shop", "send", "operate", settings={})
    key, kept = (line.strip() for line in both.out.splitlines() if line.startswith(" "))
    settings = {"TIDINGS_DATABASE_URL": operator.database_url, "TIDINGS_API_KEYS": f"{send['api_keys']} {kept}"}
    with process("replay", settings, tmp_path) as running:
        url = running.url
        assert operator.run("dead", "list", "--ops-url", url, "--api-key", key).code == 0
        refused = operator.run("dead", "list", "--ops-url", url, "--api-key", send["key"])
    assert refused.code == 1
    assert "403" in refused.err
    assert "lacks the scope `operate`: `tidings keys create TENANT operate`" in refused.err


def test_a_key_for_a_tenant_that_cannot_be_named_is_not_made(operator: Operator) -> None:
    answer = operator.run("keys", "create", "The Shop", "send")
    assert (answer.code, answer.out) == (2, "")
    assert "TENANT" in answer.err


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_flags_else_the_environment_else_the_file(operator: Operator) -> None:
    (operator.folder / ".tidings").mkdir()
    lines = [f"{name}={value}" for name, value in operator.settings.items()]
    (operator.folder / ".tidings/env").write_text("# local/up\n" + "\n".join(lines) + "\n")
    wrong = {"TIDINGS_API_KEY": "wrong"}
    assert operator.run("dead", "list", settings={}).code == 0
    assert operator.run("dead", "list", settings={"TIDINGS_API_KEY": ""}).code == 0
    assert operator.run("dead", "list", settings=wrong).code == 1
    assert operator.run("dead", "list", "--api-key", operator.settings["TIDINGS_API_KEY"], settings=wrong).code == 0


def test_a_missing_setting_is_named_in_one_line(operator: Operator) -> None:
    answer = operator.run("sweep", settings={"TIDINGS_API_KEY": "key"})
    assert answer.code == 2
    assert answer.err.startswith("tidings: TIDINGS_OPS_URL: is not set (")
    assert answer.err.count("\n") == 1


def test_the_help_names_the_settings_the_file_and_the_exit_codes(operator: Operator) -> None:
    said = operator.run("--help", settings={}).out
    for word in ("TIDINGS_OPS_URL", "TIDINGS_API_KEY", ".tidings/env", "exit codes"):
        assert word in said


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dead"],
        ["dead", "list", "--limit", "0"],
        ["dead", "list", "--limit", "many"],
        ["dead", "list", "--channel", "emial"],
        ["dead", "list", "--status", "sent"],
        ["keys", "create", "shop", "everything"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_is_told_in_one_line(operator: Operator, arguments: list[str]) -> None:
    answer = operator.run(*arguments)
    _says(answer, 2, "--help")
    assert "usage:" not in answer.err


@pytest.mark.parametrize(
    ("command", "option"), [("list", "--since"), ("groups", "--until"), ("replay", "--since")], ids="{}".format
)
@pytest.mark.parametrize("wrong", ["yesterday", "2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T10:00:00"])
def test_a_wrong_time_is_one_clear_line_and_asks_no_server(
    operator: Operator, command: str, option: str, wrong: str
) -> None:
    answer = operator.run("dead", command, option, wrong, "--ops-url", f"http://{NOBODY}")
    _says(answer, 2, option, repr(wrong), "must be an RFC 3339 timestamp, like 2026-05-01T12:00:00Z")


def test_the_version_is_that_of_the_package(operator: Operator) -> None:
    answer = operator.run("--version", settings={})
    assert (answer.code, answer.out, answer.err) == (0, f"tidings {version('tidings')}\n", "")


# --- a narrow terminal ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_no_line_of_a_list_is_wider_than_the_terminal(operator: Operator, columns: int) -> None:
    (id,) = operator.dead(PermanentError("21614", "not a mobile number, " * 8), recipient="+491511234567890")
    said = operator.shown_on_a_terminal("dead", "list", columns=columns)
    lines = said.splitlines()
    assert max(map(len, lines)) <= columns, said
    assert id in said, "what identifies it is not cut"
    assert {"21614", "+491511234567890"} <= set(said.split())
    assert lines[-1].endswith("…")


def test_a_pipe_gets_whole_columns(operator: Operator) -> None:
    operator.dead(PermanentError("21614", reason := "not a mobile number, " * 8))
    assert reason.rstrip(", ") in operator.run("dead", "list").out


def test_one_that_is_shown_on_a_narrow_terminal_has_its_whole_reason(operator: Operator) -> None:
    (id,) = operator.dead(PermanentError("21614", reason := "not a mobile number, " * 8))
    assert reason.strip() in operator.shown_on_a_terminal("dead", "show", id, columns=80)


# --- a server that does not do it -------------------------------------------------------------------------------------


def _says(answer: Ended, code: int, *words: str) -> None:
    """One line on stderr with these words, and nothing on stdout."""
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.startswith("tidings: ")
    assert answer.err.count("\n") == 1
    for word in words:
        assert word in answer.err


def test_a_key_that_is_not_valid_is_told_with_the_setting(operator: Operator) -> None:
    _says(operator.run("dead", "list", "--api-key", "tdg_unknown"), 1, "401", "TIDINGS_API_KEY")


def test_what_the_server_finds_wrong_is_told_by_field(operator: Operator) -> None:
    _says(operator.run("dead", "list", "--code", "é"), 1, "422", "code")
    _says(operator.run("dead", "replay", "no-id", "--yes"), 1, "422", "ids.0")


def test_a_server_that_is_not_there_ends_with_3_and_its_address(operator: Operator) -> None:
    url = f"http://{NOBODY}"
    _says(operator.run("sweep", "--ops-url", url), 3, url, "TIDINGS_OPS_URL")


def test_a_database_that_is_down_is_told_with_when_to_try_again(operator: Operator, tmp_path: Path) -> None:
    key, kept = new_key("shop", [Scope.OPERATE])
    down = f"mysql+pymysql://nobody:nothing@{NOBODY}/tidings"
    settings = {"TIDINGS_DATABASE_URL": down, "TIDINGS_API_KEYS": str(kept)}
    with process("replay", settings, tmp_path) as running:
        url = running.url
        answer = operator.run("dead", "list", "--ops-url", url, "--api-key", key)
    _says(answer, 1, "503", "database", "try again in 2 s")


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """Some web server that is not Tidings: a page, and a redirect."""

    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        redirects = not self.path.startswith("/page") and not self.path.startswith("/target")
        self.send_response(302 if redirects else 200)
        if redirects:
            self.send_header("location", "/target")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_web_page_in_its_place_is_told_apart(operator: Operator, elsewhere: http.server.HTTPServer) -> None:
    url = f"http://127.0.0.1:{elsewhere.server_port}/page"
    _says(operator.run("dead", "list", "--ops-url", url), 1, "not Tidings", "TIDINGS_OPS_URL")


def test_the_key_does_not_follow_a_redirect(operator: Operator, elsewhere: http.server.HTTPServer) -> None:
    url = f"http://127.0.0.1:{elsewhere.server_port}"
    _says(operator.run("dead", "list", "--ops-url", url), 1, "302")
    assert elsewhere.seen == ["/v1/dead-letters?limit=50"]  # type: ignore[attr-defined]


# --- suppressions -----------------------------------------------------------------------------------------------------


def test_suppressions_are_added_found_removed_and_listed(operator: Operator) -> None:
    added = operator.run("suppressions", "add", "email", "Ada@Example.com", "--note", "asked by phone")
    assert added.code == 0, added.err
    assert "ada@example.com" in added.out
    assert "it is removed" in added.out
    assert operator.run("suppressions", "remove", "email", "ada@example.com").code == 0
    found = operator.run("suppressions", "find", "ADA@example.com", "--json").document["suppressions"]
    assert [(one["note"], one["in_force"]) for one in found] == [("asked by phone", False)]
    listed = operator.run("suppressions", "list", "--state", "in_force")
    assert listed.out == "No suppressions match.\n"


def test_an_opt_out_of_a_category_is_an_entry_of_its_own(operator: Operator) -> None:
    ada, of_news = ("email", "ada@example.com"), ("--category", "news")
    assert "news" in operator.run("suppressions", "add", *ada, *of_news, "--reason", "opted_out").out
    assert operator.run("suppressions", "remove", *ada).code == 1
    listed = operator.run("suppressions", "list", *of_news, "--json").document["suppressions"]
    assert [(one["scope"], one["reason"]) for one in listed] == [("news", "opted_out")]
    removed = operator.run("suppressions", "remove", *ada, *of_news)
    assert removed.out == "ada@example.com is sent messages of news again on email.\n"


def test_an_exported_list_is_imported_and_bad_lines_are_named(operator: Operator) -> None:
    file = operator.folder / "old.csv"
    file.write_text("channel,recipient\nemail,ada@example.com\nemail,nobody\nsms,+15005550010\n", encoding="utf-8")
    done = operator.run("suppressions", "import", str(file))
    assert (done.code, done.out.splitlines()[0]) == (1, "2 stored, 1 bad lines."), done.err
    assert "line 3: recipient is not valid for the channel email" in done.out
    lines = operator.run("suppressions", "export").out.splitlines()
    assert [json.loads(line)["recipient"] for line in lines] == ["+15005550010", "ada@example.com"]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert operator.run("suppressions", "import", str(file), "--json").document["stored"] == 2
