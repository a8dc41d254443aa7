"""PyMySQL's connection, which does not read certificates that it does not use.

A URL without an option for TLS means: TLS if the server offers it, and nothing is verified. PyMySQL reads all of the
system's certificates nevertheless, for each connection: 50 ms of CPU.
"""

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import pymysql.connections


class FrugalConnection(pymysql.connections.Connection):  # type: ignore[misc, type-arg, unused-ignore]
    def _create_ssl_ctx(self, sslp: Mapping[str, Any]) -> ssl.SSLContext:
        """PyMySQL calls this. Empty: no option was given."""
        context: ssl.SSLContext = super()._create_ssl_ctx(sslp) if sslp else _unverified()  # type: ignore[misc]
        return context


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
