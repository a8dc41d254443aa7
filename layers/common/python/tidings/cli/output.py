"""What is shown: tables, timelines, JSON, and progress on a terminal."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

Advance = Callable[[int, str], None]
"""How many are done, and a word or two beside the bar."""


def plain(value: object) -> str:
    """On one line, and nothing in it that a terminal would obey: providers' words and recipients come from outside."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def show(options: argparse.Namespace, document: object, text: str) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False) if options.json else text)


def note(text: str) -> None:
    """Beside what is asked for: it is in nobody's pipe."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns; the first row is the head."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def recipient_of(item: Mapping[str, Any]) -> str:
    recipient = item["recipient"]
    if isinstance(recipient, dict):
        return ",".join(f"{kind}:{value}" for kind, value in recipient.items())
    return str(recipient)


def notifications(items: Sequence[Mapping[str, Any]], *, dead: bool = False) -> str:
    """A line each; of dead letters with when and why they ended."""
    rows = [["ID", "STATUS", "CHANNEL", "RECIPIENT", "ENDED" if dead else "CREATED", "ATTEMPTS", "CODE", "REASON"]]
    for item in items:
        error = item.get("last_error") or {}
        at = f"{item['updated_at' if dead else 'created_at'][:19]}Z"
        cells = [item["id"], item["status"], item["channel"], recipient_of(item), at, item["attempts"]]
        rows.append([*cells, error.get("code", ""), error.get("message", "")])
    return table(rows)


def event(entry: Mapping[str, Any]) -> str:
    """A line of a timeline."""
    words = [f"{entry['at'][:23].rstrip('Z'):<23}Z", f"{entry['status']:<9}"]
    if entry["attempt"]:
        words.append(f"attempt {entry['attempt']}")
    if entry["generation"] > 1:
        words.append(f"(replay {entry['generation'] - 1})")
    words += [entry[name] for name in ("provider", "provider_message_id") if entry.get(name)]
    if error := entry.get("error"):
        words.append(f"{error['code']}: {error['message']}")
    if entry.get("next_attempt_at"):
        words.append(f"next at {entry['next_attempt_at'][:19]}Z")
    return plain("  ".join(words).rstrip())


def head(item: Mapping[str, Any]) -> str:
    """What a timeline is of."""
    return plain(f"{item['id']}  {item['channel']} to {recipient_of(item)}")


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Advance]:
    """A bar on standard error, if that is a terminal and the extra `cli` is installed; else nothing. `total` None: how
    long it takes is not known."""
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
