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
