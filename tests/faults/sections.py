"""Sections of docs/faults.md, each written by a run of its own, below the table of all faults."""

from pathlib import Path

NEXT = "\n## "


def write(file: Path, heading: str, text: str) -> None:
    """In place of the section that is there; the rest of the page stays."""
    page = file.read_text(encoding="utf-8") if file.exists() else ""
    before, _, rest = page.partition(heading)
    _, has_more, after = rest.partition(NEXT)
    kept = f"\n{has_more.lstrip()}{after}" if has_more else ""
    file.write_text(f"{before.rstrip()}\n\n{text.rstrip()}\n{kept}", encoding="utf-8")


def kept(file: Path, *headings: str) -> str:
    """These sections of a page, to keep below a new table."""
    page = file.read_text(encoding="utf-8") if file.exists() else ""
    found = [page.partition(heading)[1:] for heading in headings]
    return "".join(f"\n{heading}{rest.partition(NEXT)[0].rstrip()}\n" for heading, rest in found if heading)
