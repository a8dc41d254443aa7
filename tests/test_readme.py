"""The README is short, and every status is explained. tests/test_docs.py and tests/test_promises.py check the rest."""

from pathlib import Path

from tidings.domain.notification import Status

ROOT = Path(__file__).parents[1]
LONGEST_README = 150  # lines


def _lines(document: str) -> list[str]:
    return (ROOT / document).read_text(encoding="utf-8").splitlines()


def test_the_readme_is_short() -> None:
    assert len(_lines("README.md")) <= LONGEST_README


def test_every_status_is_explained() -> None:
    table = [line for line in _lines("docs/promises.md") if line.startswith("| `") and "`tests/" not in line]
    assert sorted(line.split("`")[1] for line in table) == sorted(Status)
