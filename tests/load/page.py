"""The page: a section per measure, with a table; first of all, the targets that were missed."""

import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.load.figures import Figure, Report, shown

OWN = "## What is our own, and why"  # the section that is written by hand, at the end
COLUMNS = ("", "measured", "target", "compared with")


def page(reports: Sequence[Report], *, machine: str, command: str, file: Path) -> str:
    """The text of `file`; its pictures lie beside it."""
    sections = "\n".join(section(report, file) for report in reports)
    return f"""# How fast it is

`{command}` wrote this page: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {machine}.

Everything ran on that one machine, including the load generator and the server that takes the mails, SMS and push
messages. These two use its cores as well, and are not counted. Machines differ and are noisy, so ratios say most: to a
reference that ran in turns with the measurement, in the same minutes; and CPU seconds per 1,000 notifications, for
Tidings, MariaDB and RabbitMQ separately. Where a vendor's SDK makes the call, the reference is that SDK alone.
A target is a goal; no test fails if it is missed.

{_short(reports)}
{sections}{_own(file)}"""


def _own(file: Path) -> str:
    _, heading, text = (file.read_text(encoding="utf-8") if file.exists() else "").partition(OWN)
    return f"\n{heading}{text}" if heading else ""


def section(report: Report, file: Path | None = None) -> str:
    """With its pictures, if it is for a file."""
    parts = [f"## {report.title}\n", textwrap.fill(" ".join(report.how.split()), 120), ""]
    if report.problems:
        parts += ["**Wrong results:**\n", *(f"- {problem}" for problem in report.problems), ""]
    if report.figures:
        parts += [table(report.figures), ""]
    if report.notes:
        parts += [*(f"- {note}" for note in report.notes), ""]
    if file is not None:
        for name in report.pictures:
            parts += [f"![{report.title}]({picture(file, name).name})", ""]
    return "\n".join(parts)


def table(figures: Iterable[Figure]) -> str:
    rows = [COLUMNS, ("---", "---:", "---:", "---"), *(_cells(figure) for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(figure: Figure) -> tuple[str, ...]:
    value = shown(figure.value, figure.unit)
    return figure.what, f"**{value}**" if figure.falls_short else value, figure.target, figure.compared


def picture(file: Path, name: str) -> Path:
    return file.with_name(f"{file.stem}-{name}.svg")


def _short(reports: Iterable[Report]) -> str:
    """Errors, which the page must show."""
    wrong = [f"- {report.title}: {problem}" for report in reports for problem in report.problems]
    short = [
        f"- {report.title}: {figure.what} is {shown(figure.value, figure.unit)}, the target is {figure.target}"
        for report in reports
        for figure in report.figures
        if figure.falls_short
    ]
    parts = ["Wrong results:\n", *wrong, ""] if wrong else []
    parts += ["Targets that were missed (in bold below):\n", *short] if short else ["Every target was met."]
    return "\n".join([*parts, ""])


def write(reports: Sequence[Report], *, machine: str, command: str, file: Path) -> None:
    file.write_text(page(reports, machine=machine, command=command, file=file), encoding="utf-8")
    for report in reports:
        for name, drawn in report.pictures.items():
            picture(file, name).write_text(drawn, encoding="utf-8")
