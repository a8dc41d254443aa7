"""Every reply that docs/failures.md has a row for, said by a server at its step, to the real provider."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from tidings.domain.channels import EmailContent
from tidings.domain.errors import DeliveryError
from tidings.ports import SendRequest
from tidings.providers.smtp.provider import SmtpProvider
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.smtp.stages import Stage

from tests.functions.scripted import ScriptedSmtp
from tests.test_failures import Documented, replies

VERBS = {
    Stage.GREETING: ("CONNECT",),
    Stage.EHLO: ("EHLO", "HELO"),
    Stage.STARTTLS: ("STARTTLS",),
    Stage.AUTH: ("AUTH",),
    Stage.MAIL: ("MAIL",),
    Stage.RCPT: ("RCPT",),
    Stage.DATA: ("DATA",),
    Stage.DOT: ("DOT",),
}
"""Of the steps at which a server replies."""

FEATURES = ("PIPELINING", "SIZE 10000000", "ENHANCEDSTATUSCODES", "AUTH PLAIN", "STARTTLS")


def outbound(*, own_sender: bool) -> SendRequest:
    content = EmailContent(subject="s", text="t", from_=None if own_sender else "Tenant <tenant@example.net>")
    return SendRequest(id="0193-a", attempt=1, recipient="ada@example.com", content=content)


def documented(stage: Stage) -> Iterator[Documented]:
    return (row for row in replies() if row.stage is stage)


def failed(server: ScriptedSmtp, row: Documented) -> DeliveryError:
    """What a mail ends with where the server says this."""
    said = f"{row.reply.code} {row.reply.words}" if row.reply.code > 0 else "nonsense"
    server.answers.update(dict.fromkeys(VERBS[row.stage], said))
    login = "user:secret@" if row.stage is Stage.AUTH else ""
    scheme = "smtp+starttls" if row.stage is Stage.STARTTLS else "smtp"
    url = f"{scheme}://{login}127.0.0.1:{server.port}"
    settings = SmtpSettings(url=url, sender="Shop <shop@example.org>", timeout=20)
    with closing(SmtpProvider(settings)) as provider, pytest.raises(DeliveryError) as raised:
        provider.send(outbound(own_sender=row.own_sender))
    return raised.value


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "one by one"])
@pytest.mark.parametrize("stage", VERBS)
def test_a_mail_ends_with_each_reply_as_the_table_says(stage: Stage, pipelining: bool) -> None:
    rows = list(documented(stage))
    assert rows
    with ScriptedSmtp(features=FEATURES if pipelining else FEATURES[1:]) as server:
        ends = [(row, failed(server, row)) for row in rows]
    assert [(str(row), repr(error)) for row, error in ends if not row.is_like(error)] == []
    assert server.connections == len(rows)  # never tried again by itself
    assert len(server.mails) == (len(rows) if stage is Stage.DOT else 0)
