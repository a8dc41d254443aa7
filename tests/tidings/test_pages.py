"""The catalogue of events and the list of metrics are true, and their pages are what the code says."""

import re
from pathlib import Path

import pytest
from tidings.observability.log_catalog import FAULTS, LIFECYCLE

from tests.pages import DOCS, PAGES

ROOT = DOCS.parent
CODE = ("layers/common/python/tidings", "functions")
LINES = Path("layers/common/python/tidings/observability/log_observer.py")


@pytest.mark.parametrize("name", [name for name in PAGES if name.endswith(".md")])
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `python -m tests.pages`"


def test_every_event_that_the_code_logs_is_in_the_catalogue_and_no_other() -> None:
    logged: set[str] = set()
    for folder in CODE:
        for file in (ROOT / folder).rglob("*.py"):
            if file != ROOT / LINES:
                text = file.read_text(encoding="utf-8")
                calls = re.findall(r"\blog\.(?:debug|info|warning|error|exception|log)\(\s*([^,)]*)", text)
                assert all(re.fullmatch(r'"\w+"', call) for call in calls), f"{file} logs what has no name: {calls}"
                logged |= {call.strip('"') for call in calls}
    assert logged == {event.name for event in FAULTS}
    assert len(logged) > 10


def test_what_happens_to_notifications_is_named_in_one_place_only() -> None:
    names = {event.name for event in LIFECYCLE}
    assert names.isdisjoint(event.name for event in FAULTS)
    told = set(re.findall(r'"(\w+)"', (ROOT / LINES).read_text(encoding="utf-8")))
    assert names <= told


def test_the_upgrade_page_names_new_log_events_and_no_old_name_is_in_use() -> None:
    page = (DOCS / "upgrades.md").read_text(encoding="utf-8")
    table = page.partition("| Log event | is now |")[2].partition("\n\n")[0]
    renamed = [[re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:3]] for row in table.splitlines()[2:]]
    names = {event.name for event in (*FAULTS, *LIFECYCLE)}
    assert len(renamed) > 10
    assert {name for _, new in renamed for name in new} <= names | {"dead_lettered"}
    assert not {name for old, new in renamed for name in old if name not in new} & names
