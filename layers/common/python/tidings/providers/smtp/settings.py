"""The settings of email through an SMTP server."""

from dataclasses import replace
from typing import Annotated, ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from tidings.config.certificates import CaFile
from tidings.config.settings import Settings
from tidings.domain.addresses import mailbox
from tidings.providers.smtp.timeouts import Timeouts
from tidings.providers.smtp.wire import Server

DEFAULT_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}


def _server(url: str) -> Server:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        user = unquote(parts.username) if parts.username is not None else None
        password = unquote(parts.password or "")
    except ValueError:
        host = None
    if host is None or parts.scheme not in DEFAULT_PORTS or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "not smtp://, smtps:// or smtp+starttls:// with [user:password@]host[:port]; percent-encode the password"
        )
    if not f"{user}{password}".isascii():
        raise ValueError("user and password must be ASCII")  # smtplib's AUTH mechanisms support no more
    return Server(
        host=host,
        port=port or DEFAULT_PORTS[parts.scheme],
        tls=parts.scheme == "smtps",
        starttls=parts.scheme == "smtp+starttls",
        user=user or None,
        password=password,
    )


def _is_server(url: str) -> str:
    _server(url)
    return url


class SmtpSettings(Settings):
    """TIDINGS_SMTP_URL and its neighbours."""

    prefix: ClassVar[str] = "TIDINGS_SMTP_"

    url: Annotated[
        str,
        AfterValidator(_is_server),
        Field(repr=False, description="smtp:// in the clear, smtps:// TLS, smtp+starttls:// STARTTLS (required)"),
    ]
    sender: Annotated[
        str, AfterValidator(mailbox), Field(description="the default From: an address, or Name <address>")
    ]
    timeout: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="seconds that one mail may take in all, connecting included; each step also has its own"
            " time-out",
        ),
    ] = 1200
    connect_timeout: Annotated[
        float,
        Field(gt=0, le=3600, description="seconds to make the TCP connection (RFC 5321 4.5.3.2 has no number for it)"),
    ] = 30
    command_timeout: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="seconds for the greeting, for TLS, and for each reply to EHLO, STARTTLS, AUTH, MAIL and RCPT"
            " (RFC 5321 4.5.3.2.1 to 4.5.3.2.3); also to wait for a free connection",
        ),
    ] = 300
    data_timeout: Annotated[
        float, Field(gt=0, le=3600, description="seconds for the reply to DATA (RFC 5321 4.5.3.2.4)")
    ] = 120
    block_timeout: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="seconds for the server to take a block of the body; each block has its own"
            " (RFC 5321 4.5.3.2.5)",
        ),
    ] = 180
    dot_timeout: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="seconds for the reply to the final dot (RFC 5321 4.5.3.2.6); a shorter one doubles mail: the"
            " server may accept it after we have given up",
        ),
    ] = 600
    connections: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="connections at most; more mails wait, of priority high as well. 50 is what Postfix allows one"
            " client (smtpd_client_connection_count_limit)",
        ),
    ] = 50
    idle: Annotated[float, Field(ge=0, description="seconds after which an unused connection is not used again")] = 30
    ehlo_name: Annotated[
        str | None,
        Field(
            pattern=r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+|\[[0-9A-Za-z:.]+\])$",
            max_length=255,
            description="this machine's full name in EHLO, which some servers demand (smtp-relay.gmail.com); default:"
            " its address, as [192.0.2.1]",
        ),
    ] = None
    message_id_domain: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9.-]+$", description="right of the @ in Message-ID; default: the sender's"),
    ] = None
    ca_file: CaFile = None

    @property
    def server(self) -> Server:
        return replace(_server(self.url), ehlo_name=self.ehlo_name)

    @property
    def domain(self) -> str:
        return self.message_id_domain or self.sender.rstrip(">").rpartition("@")[2]

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(
            connect=self.connect_timeout,
            command=self.command_timeout,
            data=self.data_timeout,
            block=self.block_timeout,
            dot=self.dot_timeout,
            total=self.timeout,
        )
