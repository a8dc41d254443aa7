"""Output of the commands: tables, timelines, JSON, and progress bars."""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tidings.api.responses import state
from tidings.domain.notification import CLAIMABLE, OPERATOR, Status

Advance = Callable[[int, str], None]
"""Called with the number done and a short text beside the bar."""


def plain(value: object) -> str:
    """On one line, without control characters: providers' messages and recipients are untrusted."""
    return "".join(character if character.isprintable() else " " for character in str(value))


def show(options: argparse.Namespace, document: object, text: str) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False) if options.json else text)


def note(text: str) -> None:
    """Print to standard error, so that pipes get the result only."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[object]], *, fits: bool = True) -> str:
    """Aligned columns; the first row is the head. On a terminal that is too narrow, a row is folded into several lines,
    and a longer cell is cut. Elsewhere, and with `fits` False, nothing is cut: a program may read it."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    groups = (
        _folded(widths, shutil.get_terminal_size().columns) if fits and sys.stdout.isatty() else [[*enumerate(widths)]]
    )
    return "\n".join(line for row in cells for line in _lines(row, groups))


GAP, LEAST = "  ", 12  # between columns, also the indent; minimum width of a cut last column

Columns = list[tuple[int, int]]
"""Columns of one line: index in the row, and width."""


def _folded(widths: Sequence[int], within: int) -> list[Columns]:
    """The columns of each line. The last column takes the rest of its line, if that is LEAST or more."""
    groups: list[Columns] = [[]]
    left = within
    for place, width in enumerate(widths):
        needed = min(width, LEAST) if place == len(widths) - 1 else width
        if groups[-1] and needed > left:
            groups.append([])
            left = within - len(GAP)
        groups[-1].append((place, max(1, min(width, left))))
        left -= width + len(GAP)
    return groups


def _lines(row: Sequence[str], groups: Sequence[Columns]) -> Iterator[str]:
    for number, columns in enumerate(groups):
        line = GAP.join(_cut(row[place], width).ljust(width) for place, width in columns).rstrip()
        if line:
            yield GAP * (number > 0) + line


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def recipient_of(item: Mapping[str, Any]) -> str:
    recipient = item["recipient"]
    if isinstance(recipient, dict):
        return ",".join(f"{kind}:{value}" for kind, value in recipient.items())
    return str(recipient)


def state_of(item: Mapping[str, Any]) -> str:
    """The status and its doubt, of a notification or a timeline entry."""
    return state(item["status"], item.get("may_have_been_sent"))


def notifications(items: Sequence[Mapping[str, Any]], *, dead: bool = False) -> str:
    """A table; for dead letters with the time they ended."""
    rows = [["ID", "STATUS", "CHANNEL", "RECIPIENT", "ENDED" if dead else "CREATED", "ATTEMPTS", "CODE", "REASON"]]
    for item in items:
        error = item.get("last_error") or {}
        at = f"{item['updated_at' if dead else 'created_at'][:19]}Z"
        cells = [item["id"], state_of(item), item["channel"], recipient_of(item), at, item["attempts"]]
        rows.append([*cells, error.get("code", ""), error.get("message", "")])
    return table(rows)


WITHOUT_CALL = frozenset({Status.CANCELED, Status.EXPIRED, Status.SUPPRESSED})
"""Statuses that are reached without a provider call."""


def event(entry: Mapping[str, Any]) -> str:
    """One line of a timeline."""
    words = [f"{entry['at'][:23].rstrip('Z'):<23}Z", f"{state_of(entry):<9}"]
    if entry["attempt"] and entry["status"] not in WITHOUT_CALL and entry.get("provider") != OPERATOR:
        words.append(f"attempt {entry['attempt']}")
    if entry["generation"] > 1:
        words.append(f"(replay {entry['generation'] - 1})")
    words += [entry[name] for name in ("provider", "provider_message_id") if entry.get(name)]
    if error := entry.get("error"):
        words.append(f"{error['code']}: {error['message']}")
    if entry.get("note"):
        words.append(entry["note"])
    if entry.get("next_attempt_at"):
        words.append(f"next at {entry['next_attempt_at'][:19]}Z")
    return plain("  ".join(words).rstrip())


def head(item: Mapping[str, Any]) -> Sequence[str]:
    """The lines above a timeline: the notification, and when it is due if that is in the future."""
    first = plain(f"{item['id']}  {item['channel']} to {recipient_of(item)}")
    due = item.get("next_attempt_at") or item.get("send_at")
    if item["status"] not in CLAIMABLE or due is None:
        return [first]
    left = (datetime.fromisoformat(due) - datetime.now(UTC)).total_seconds()
    return [first, plain(f"due at {due[:19]}Z, in {_span(left)}")] if left > 0 else [first]


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} s"


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Advance]:
    """A bar on standard error if that is a terminal and the extra `cli` is installed, else nothing. `total` None: the
    total is not known."""
    bar = _bar(label, total) if sys.stderr.isatty() else None
    if bar is None:
        yield lambda _done, _words: None
        return
    with bar as (shown, task):
        yield lambda done, words: shown.update(task, completed=done, words=plain(words))


@contextmanager
def _opened(shown: Any, label: str, total: int | None) -> Iterator[tuple[Any, Any]]:
    with shown:
        yield shown, shown.add_task(label, total=total, words="")


def _bar(label: str, total: int | None) -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
    except ImportError:
        return None
    ends = [MofNCompleteColumn()] if total is not None else []
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *ends]
    words = TextColumn("{task.fields[words]}", markup=False)
    return _opened(Progress(*columns, words, console=Console(stderr=True), transient=True), label, total)
