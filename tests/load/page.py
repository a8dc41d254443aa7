"""The page: one section per measure with a table; missed targets come first."""

import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.load.figures import Figure, Report, shown

COLUMNS = ("", "measured", "target", "compared with")


def page(reports: Sequence[Report], *, machine: str, command: str, file: Path) -> str:
    """The text of `file`; its pictures lie beside it."""
    sections = "\n".join(section(report, file) for report in reports)
    return f"""# How fast it is

`{command}` wrote this page: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {machine}.

All of it ran on that one machine: the load generator, too, and the server that takes the mails, SMS and push messages.
Both take their share of its cores and are not counted. Machines differ and are noisy, so what says most are ratios: to
a reference that ran in turns with what is measured, in the same minutes, and CPU seconds per 1,000 notifications, of
Tidings, MariaDB and RabbitMQ each. Where a vendor's SDK makes the call, the reference is that SDK alone.
Nothing here is asserted; a target is what was wished for.

{_short(reports)}
{sections}"""


def section(report: Report, file: Path | None = None) -> str:
    """With its pictures, if it is for a file."""
    parts = [f"## {report.title}\n", textwrap.fill(" ".join(report.how.split()), 120), ""]
    if report.problems:
        parts += ["**Not as it should be:**\n", *(f"- {problem}" for problem in report.problems), ""]
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
        f"- {report.title}: {figure.what} is {shown(figure.value, figure.unit)}, wished for was {figure.target}"
        for report in reports
        for figure in report.figures
        if figure.falls_short
    ]
    parts = ["Not as it should be:\n", *wrong, ""] if wrong else []
    parts += ["What falls short of its target (in bold below):\n", *short] if short else ["Every target was met."]
    return "\n".join([*parts, ""])


def write(reports: Sequence[Report], *, machine: str, command: str, file: Path) -> None:
    file.write_text(page(reports, machine=machine, command=command, file=file), encoding="utf-8")
    for report in reports:
        for name, drawn in report.pictures.items():
            picture(file, name).write_text(drawn, encoding="utf-8")
