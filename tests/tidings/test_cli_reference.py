"""The page of all commands is what the command itself says."""

import re
from pathlib import Path

from tidings.cli.exit_codes import EXIT_CODES
from tidings.cli.parser import parser
from tidings.cli.reference import page

from tests.command import tidings

ROOT = Path(__file__).parents[2]
JUST = ("send", "status", "list", "dead", "sweep", "keys", "doctor", "load-test")


def test_the_page_is_in_step() -> None:
    written = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m tidings.cli.reference > docs/cli.md"


def test_every_command_takes_json_and_has_a_place_on_the_page() -> None:
    sections = re.split(r"^## ", page(), flags=re.MULTILINE)
    commands = [section for section in sections if section.startswith("tidings ")]
    assert {section.split()[1] for section in commands} >= set(JUST)
    for section in commands:
        assert "`--json`" in section, section.splitlines()[0]


def test_the_help_tells_every_exit_code(tmp_path: Path) -> None:
    said = tidings("--help", folder=tmp_path).out
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^ +{code} +{re.escape(meaning)}$", said, re.MULTILINE)


def test_every_option_says_what_it_is() -> None:
    for line in page().splitlines():
        assert not re.search(r"^\| `--[^|]+\| +\|$", line), line
    assert parser().prog == "tidings"
