"""Nothing lost, nothing twice: the quick part of the fault matrix (`python -m tests.faults` runs the whole)."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults import matrix, receipts, webhooks
from tests.faults.fault import Fault
from tests.faults.faults import FAULTS
from tests.faults.steps import ROOT, steps
from tests.faults.world import World, world

QUICK = [fault for fault in FAULTS if fault.quick]
BY_DAY = 120  # messages: half of what the matrix sends


@pytest.fixture(scope="module")
def hurt(private_servers: None) -> Iterator[World]:
    # None of these faults tests a time-out, so a slow machine must not reach one.
    with world(lease=10, provider_timeout=8) as started:
        yield started


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name.replace(" ", "-"))
def test_under_this_fault_nothing_is_lost_and_nothing_goes_out_twice(hurt: World, fault: Fault, nightly: bool) -> None:
    result = matrix.run(hurt, fault if nightly else replace(fault, messages=BY_DAY), seed=1)
    assert result.counted.lost == 0, matrix.line(result)
    assert not result.problems, "\n".join([matrix.line(result), *result.problems])


def test_a_killed_worker_leaves_no_endpoint_untold(hurt: World, nightly: bool) -> None:
    ran = webhooks.run(hurt, webhooks.ROWS[0] if nightly else webhooks.QUICK, seed=1)
    assert (ran.counted.lost, ran.counted.arrived) == (0, ran.counted.events), webhooks.line(ran)
    assert not ran.result.problems, "\n".join([webhooks.line(ran), *ran.result.problems])


def test_the_crash_table_has_exactly_the_steps_that_the_code_has() -> None:
    table = (ROOT / "docs" / "crashes.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)) == steps()


def test_every_step_has_a_fault_that_dies_there() -> None:
    assert {f"dies at {name}" for name in steps()} <= {fault.name for fault in (*FAULTS, *receipts.FAULTS)}
