"""The README's pictures of the console: `python -m tests.browser.screenshots` starts a stack, makes traffic with every
outcome, and writes docs/console-*.png. The charts' past hour is made up; everything else is real.
"""

import argparse
import math
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert
from tidings.adapters.sql.schema import statistics

from local.emulators.client import Emulator
from local.stack.stack import ROOT, Options, Stack, running
from local.stack.state import TENANT
from tests.browser.chromium import Browser, browsing, chromium
from tests.scenarios.caller import Caller, wait_for

Json = dict[str, Any]

MINUTE = timedelta(minutes=1)
PEOPLE = ("ada", "grace", "alan", "barbara", "edsger", "frances", "john", "margaret", "donald", "radia")
MAILS = (
    ("Your order {n} is on its way", "Your order {n} left our house this morning.\nIt should be with you on Friday."),
    ("Your invoice {n}", "Thank you for your order.\nYour invoice {n} is due in 14 days."),
    ("Sign in to your account", "Your code is {n}. It is valid for 10 minutes."),
)
A_MINUTE = {"email": 140, "sms": 45, "push": 85, "webhook": 270}  # accepted, about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "docs")
    into = parser.parse_args().into
    with (
        tempfile.TemporaryDirectory(prefix="tidings-") as folder,
        running(Options(state=Path(folder), first_port=0, receipts=True)) as stack,
    ):
        _past_hour(stack)
        caller = Caller(url=stack.url, ops_url=stack.ops_url, key=stack.secrets.api_key)
        emulator = Emulator(url=stack.inbox_url)
        _endpoints(caller)
        story = _traffic(caller, emulator)
        _suppressions(caller)
        _failing_webhooks(caller, emulator)
        with chromium() as chrome, browsing(chrome, stack.ops_url) as browser:
            for name, picture in _pictures(browser, caller, story):
                file = into / f"console-{name}.png"
                file.write_bytes(picture)
                print(f"{file}  {len(picture) / 1024:.0f} KB")


# --- pictures -----------------------------------------------------------------------------------------------------


def _pictures(browser: Browser, caller: Caller, story: str) -> Iterator[tuple[str, bytes]]:
    browser.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    browser.sign_in(caller.key)
    browser.see("Live.", "Retry schedule")
    yield "overview", _whole(browser)
    browser.prefer(prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    yield "overview-dark", _whole(browser)
    browser.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
    browser.go("#/notifications")
    browser.see("shown")
    yield "search", _whole(browser, most=760)
    browser.go(f"#/notifications/{story}")
    browser.see("generation 2", "Nothing: the provider reported that it arrived")
    yield "notification", _whole(browser)
    browser.go("#/dead")
    browser.see("grouped by last error")
    yield "dead-letters", _whole(browser)
    browser.follow("The service is currently unavailable")
    browser.see("← Dead letters")
    browser.type("Per second", "5")
    browser.press("Dry run")
    browser.see("A sample")
    browser.js("document.activeElement.blur()")
    yield "replay", _whole(browser, most=820)
    browser.go("#/suppressions")
    browser.see("Suppression is on", "asked by phone")
    yield "suppressions", _whole(browser, most=900)
    browser.go("#/webhooks")
    browser.follow("https://orders.example/hooks/tidings")
    browser.see("enabled, failing", "the receiver answered HTTP 503")
    yield "webhook", _whole(browser, most=1000)
    browser.go("#/test")
    browser.see("Sends a real notification")
    yield "test", _whole(browser)
    browser.go("#/")
    browser.see("Live.")
    yield "phone", _whole(browser, width=390, most=844)


def _whole(browser: Browser, *, width: int = 1120, most: int = 1400) -> bytes:
    """The whole page, `most` pixels high at most."""
    browser.size(width, 400)
    wait_for(lambda: browser.js("return document.querySelector('svg.chart')?.viewBox.baseVal.width ?? 0") < width)
    high = int(browser.js("return document.documentElement.scrollHeight"))
    browser.size(width, min(high, most))
    browser.js("scrollTo(0, 0)")
    settled = (
        "return new Promise(done => setTimeout(() => requestAnimationFrame(done), 2500))"  # a refresh at the new width
    )
    browser.js(settled)
    return browser.picture()


# --- traffic ------------------------------------------------------------------------------------------------


def _past_hour(stack: Stack) -> None:
    """Counts of a usual hour, with ten minutes in which the mail server was busy."""
    chance = random.Random(4711)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    rows: list[Json] = []
    for ago in range(1, 75):
        for channel, usual in A_MINUTE.items():
            accepted = max(0, round(usual * (1 + 0.25 * math.sin(ago / 9)) + chance.gauss(0, usual / 12)))
            busy = channel == "email" and 22 <= ago <= 31
            counts = {
                "accepted": accepted,
                "retrying": round(accepted * chance.uniform(0.1, 0.3)) if busy else chance.choice([0] * 6 + [1, 2]),
                "failed": chance.choice([0] * 9 + [1]) if channel == "sms" else 0,
            }
            late = 0.5 if busy else -1 if channel == "email" and 17 <= ago < 22 else 0
            counts["sent"] = round(accepted * (1 - late)) - counts["failed"]
            for bound, share in ((50, 0.72), (250, 0.25), (1000, 0.02), (5000, 0.01)):
                counts[f"sent_within_{bound}"] = round(counts["sent"] * share)
            at = now - ago * MINUTE
            rows += [
                {"tenant": TENANT, "minute": at, "channel": channel, "what": what, "count": count}
                for what, count in counts.items()
                if count
            ]
    engine = create_engine(stack.state.sqlite_url)
    with engine.begin() as connection:
        connection.execute(insert(statistics), rows)
    engine.dispose()


def _traffic(caller: Caller, emulator: Emulator) -> str:
    """Notifications with every outcome. Returns the ID of one with a long timeline."""
    chance = random.Random(4712)
    emulator.fail("email", status=451, enhanced="4.7.1", next=1, message="Greylisted, please try again")
    content = {"subject": "Your invoice 797601", "text": "Thank you for your order.\nIt is due in 14 days."}
    story = caller.post(_mail(chance, to="ada.lovelace@example.com", content=content))
    wait_for(lambda: caller.get(story), lambda found: found["status"] in ("retrying", "sent"))
    # Not an unknown mailbox: that would suppress her, and the replay with her.
    emulator.fail("email", status=552, enhanced="5.3.4", next=1, message="Message too big for this system")
    assert _settled(caller, story) == "failed"

    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    caller.post_all([_mail(chance, send_at=later) for _ in range(23)])
    _ended(caller, _mixed(chance, mails=60, pushes=35, texts=25))
    emulator.fail("email", status=550, enhanced="5.1.1", next=14, message="User unknown")
    _ended(caller, [_mail(chance) for _ in range(14)])
    emulator.fail("email", status=552, enhanced="5.3.4", next=3, message="Message too big for this system")
    _ended(caller, [_mail(chance) for _ in range(3)])
    emulator.fail("push", status=404, next=6)
    emulator.fail("push", status=503, next=8)
    _ended(caller, [_push(chance, on_ambiguous="hold") for _ in range(14)])
    emulator.fail("email", drop="after_accept", next=4)
    _ended(caller, [_mail(chance, on_ambiguous="hold") for _ in range(4)])
    _ended(caller, [_sms(chance, to="+15005550009") for _ in range(7)])
    caller.replay(ids=[story])
    wait_for(lambda: caller.get(story)["status"] == "delivered")
    emulator.fail("sms", status=429, next=8, retry_after=40)
    waiting = caller.post_all([_sms(chance) for _ in range(8)])
    wait_for(lambda: all(caller.get(id)["status"] == "retrying" for id in waiting))
    emulator.fail("push", status=503, next=1)
    last = [*_mixed(chance, mails=3, pushes=2, texts=1), _sms(chance, to="+15005550009"), _mail(chance, send_at=later)]
    for notification in (*last, _push(chance, on_ambiguous="hold"), *_mixed(chance, mails=1, pushes=1, texts=1)):
        caller.post(notification)
    wait_for(lambda: not caller.listed(status="sending"))
    return story


def _endpoints(caller: Caller) -> None:
    """Of two applications."""
    for url in ("https://orders.example/hooks/tidings", "https://crm.example/in"):
        assert caller.ask(f"{caller.ops_url}/v1/webhooks", {"url": url}).status in (200, 201)


def _failing_webhooks(caller: Caller, emulator: Emulator) -> None:
    """From now on the receivers are down."""
    emulator.fail("webhook", status=503)
    _ended(caller, [_mail(random.Random(4713)), _sms(random.Random(4714))])
    wait_for(lambda: len(caller.listed(channel="webhook", status="retrying")) >= 4)


def _suppressions(caller: Caller) -> None:
    """Beside those that the traffic has left: mailboxes that do not exist."""
    for recipient, reason, more in (
        ("grace.hopper@example.com", "opted_out", {"scope": "news", "note": "asked by phone"}),
        ("+15005550011", "opted_out", {"channel": "sms"}),
        ("alan.turing@example.com", "complaint", {}),
    ):
        entry = {"channel": "email", "recipient": recipient, "reason": reason, **more}
        assert caller.ask(f"{caller.ops_url}/v1/suppressions", entry).status in (200, 201)


def _mixed(chance: random.Random, *, mails: int, pushes: int, texts: int) -> list[Json]:
    makers = [_mail] * mails + [_push] * pushes + [_sms] * texts
    chance.shuffle(makers)
    return [make(chance) for make in makers]


def _ended(caller: Caller, notifications: list[Json]) -> None:
    for id in caller.post_all(notifications):
        _settled(caller, id)


def _settled(caller: Caller, id: str) -> str:
    """Its status."""
    return str(
        wait_for(lambda: caller.get(id)["status"], lambda status: status not in ("pending", "sending", "retrying"))
    )


def _mail(chance: random.Random, to: str | None = None, **changes: Any) -> Json:
    subject, text = chance.choice(MAILS)
    number = str(chance.randint(100_000, 999_999))
    person = chance.choice(PEOPLE)
    content = {"subject": subject.format(n=number), "text": f"Hello {person.title()},\n\n{text.format(n=number)}"}
    address = to or f"{person}.{chance.randint(10, 99)}@example.com"
    return {"channel": "email", "recipient": address, "content": content, "metadata": {"order": number}, **changes}


def _sms(chance: random.Random, to: str | None = None) -> Json:
    number = f"+1500555{chance.randint(1000, 9999)}"
    return {
        "channel": "sms",
        "recipient": to or number,
        "content": {"text": f"Your code is {chance.randint(1000, 9999)}."},
    }


def _push(chance: random.Random, **changes: Any) -> Json:
    token = f"{chance.choice(PEOPLE)}-phone-{chance.randint(100, 999)}"
    content = {"title": "On its way", "body": "Your order has left our house.", "data": {"order": "4711"}}
    return {"channel": "push", "recipient": {"token": token}, "content": content, **changes}


if __name__ == "__main__":
    main()
