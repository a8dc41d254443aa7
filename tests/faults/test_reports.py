"""Studies, of minutes each: what providers report, and what tells the endpoints of webhooks, under every fault."""

from collections.abc import Iterator

import pytest

from tests.faults import matrix, receipts, webhooks
from tests.faults.fault import Fault
from tests.faults.webhooks import Row
from tests.faults.world import World

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="class")
def hurt(request: pytest.FixtureRequest, private_servers: None) -> Iterator[World]:
    with request.cls.world() as started:
        yield started


class TestReceipts:
    world = staticmethod(receipts.WORLD)

    @pytest.mark.parametrize("fault", receipts.FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
    def test_under_this_fault_no_receipt_is_lost(self, hurt: World, fault: Fault) -> None:
        result = matrix.run(hurt, fault, seed=1)
        assert result.counted.lost == 0, matrix.line(result)
        assert not result.problems, "\n".join([matrix.line(result), *result.problems])


class TestWebhooks:
    world = staticmethod(webhooks.WORLD)

    @pytest.mark.parametrize("row", webhooks.ROWS, ids=lambda row: row.name.replace(" ", "-"))
    def test_under_this_fault_each_endpoint_is_told_every_event(self, hurt: World, row: Row) -> None:
        ran = webhooks.run(hurt, row, seed=1)
        assert not ran.result.problems, "\n".join([webhooks.line(ran), *ran.result.problems])
