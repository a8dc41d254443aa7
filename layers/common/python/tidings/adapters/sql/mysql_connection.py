"""A PyMySQL connection that reads no certificates when it verifies none.

If the database's URL has no option for TLS, PyMySQL uses TLS where the server offers it, and does not verify it. It
would still read all of the system's certificates for each connection, which takes 50 ms of CPU.
"""

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import pymysql.connections


class FrugalConnection(pymysql.connections.Connection):
    def _create_ssl_ctx(self, sslp: Mapping[str, Any]) -> ssl.SSLContext:
        """PyMySQL calls this. `sslp`: the options for TLS; empty if the URL has none."""
        context: ssl.SSLContext = super()._create_ssl_ctx(sslp) if sslp else _unverified()  # type: ignore[misc]
        return context


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
