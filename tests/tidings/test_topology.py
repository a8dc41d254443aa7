"""The topology changes without a 406: what was declared under a name once, is declared under it for ever."""

import json
from pathlib import Path
from typing import Any

from tidings.domain.channels import CHANNELS
from tidings.messaging import topology

RELEASED = Path(__file__).with_name("topology.json")
RULE = (
    "A queue keeps the arguments with which it was made: RabbitMQ answers 406 to others. Give the changed queue a new"
    " name (such as tidings.email.v2), or leave the change to a policy; see docs/upgrades.md."
)


def declared() -> dict[str, dict[str, Any]]:
    """Each name with what is declared under it; the channels' are alike."""
    made: dict[str, dict[str, Any]] = {f"exchange {one.name}": {"type": one.type} for one in topology.exchanges()}
    for queue in topology.queues():
        for channel in CHANNELS:
            name = queue.name.replace(f"{topology.EXCHANGE}.{channel}", f"{topology.EXCHANGE}.<channel>")
            if name != queue.name:
                break
        assert made.setdefault(f"queue {name}", queue.arguments) == queue.arguments, f"{name}: channels differ"
    return made


def test_what_was_released_under_a_name_keeps_its_arguments() -> None:
    released = json.loads(RELEASED.read_text(encoding="utf-8"))
    now = declared()
    assert {name: now[name] for name in released if name in now} == {
        name: arguments for name, arguments in released.items() if name in now
    }, RULE


def test_every_name_is_on_the_list_of_what_was_released() -> None:
    """Names are only added to it: a queue that is no longer declared is still there, on somebody's broker."""
    missing = {
        name: arguments for name, arguments in declared().items() if name not in json.loads(RELEASED.read_text())
    }
    assert not missing, f"add to {RELEASED.name}: {json.dumps(missing, indent=2)}"
