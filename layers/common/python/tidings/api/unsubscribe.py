"""Unsubscribe links: GET asks and changes nothing, POST opts out (RFC 8058). The link itself is the permission."""

import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl

from tidings.api import unsubscribe_page as page
from tidings.api.endpoint import BoundEndpoint, Endpoint
from tidings.api.http import RETRY_AFTER, AuthenticatedRequest, Response
from tidings.api.problems import Problem
from tidings.domain.channels import CHANNELS, Content
from tidings.domain.errors import StoreUnavailable
from tidings.pipeline.coalescer import Coalescer, Full
from tidings.pipeline.suppression import Reason, suppression
from tidings.ports import Store, Suppression
from tidings.providers.unsubscribe import PATH, OptOut, UnsubscribeLinks

log = logging.getLogger(__name__)

SOURCE = "unsubscribe"
MAX_FORM = 4096  # bytes; what is needed takes 26, or some hundred as multipart/form-data

_PART = re.compile(
    rb"""(?i:content-disposition):[^\r\n]*\bname="?%b"?(;[^\r\n]*)?\r?\n([^\r\n]+\r?\n)*\r?\n%b\s*\r?\n--"""
    % tuple(re.escape(word.encode()) for word in page.ONE_CLICK)
)
"""The part of a form that says one-click. The library's parser of mails takes a hundred times as long for a hostile
body."""

_PATH = f"{PATH}/{{token}}"
ASK = Endpoint(method="GET", path=_PATH, scope=None, summary="A page that asks; it changes nothing")
OPT_OUT = Endpoint(method="POST", path=_PATH, scope=None, open_body=MAX_FORM, summary="Opt out of a category")


class _NotValid(Problem):
    """The link is not ours, or it was changed or cut. A person reads the answer."""

    def __init__(self) -> None:
        super().__init__(404, "This link is not valid")

    def response(self) -> Response:
        return page.not_valid()


class UnsubscribeEndpoints:
    """Opt-outs that arrive at the same time are recorded together."""

    def __init__(self, *, store: Store, links: UnsubscribeLinks) -> None:
        self._store = store
        self._links = links
        recording = ThreadPoolExecutor(2, thread_name_prefix="tidings-unsubscribe")
        self._coalescer: Coalescer[OptOut, None] = Coalescer(self._record, recording)

    def all(self) -> Sequence[BoundEndpoint]:
        return [
            BoundEndpoint(endpoint=ASK, handle=self.ask, admit=self.admit),
            BoundEndpoint(endpoint=OPT_OUT, handle=self.opt_out, admit=self.admit),
        ]

    def admit(self, request: AuthenticatedRequest) -> None:
        """Before the body is read."""
        self._opt_out(request)

    async def ask(self, request: AuthenticatedRequest) -> Response:
        """Mail filters follow links. The database is not asked, so it may be down."""
        what = self._opt_out(request)
        return page.question(what.category, _masked(what))

    async def opt_out(self, request: AuthenticatedRequest) -> Response:
        """200: committed. Never a redirect: a mail provider would not follow it."""
        what = self._opt_out(request)
        if not _says_one_click(request.headers, bytes(request.body)):
            return page.not_asked()
        try:
            await self._coalescer.submit([what])
        except (StoreUnavailable, Full) as error:
            log.error("service_unavailable", extra={"error": str(error) or "too many opt-outs at once"})
            return page.not_now(RETRY_AFTER)
        log.info("unsubscribed", extra={"tenant": what.tenant, "channel": what.channel, "category": what.category})
        return page.done(what.category, _masked(what))

    def _opt_out(self, request: AuthenticatedRequest) -> OptOut:
        """Raise Problem."""
        if (what := self._links.read(request.path["token"])) is None:
            raise _NotValid
        return what

    def _record(self, batch: Sequence[OptOut]) -> Sequence[None]:
        """Raise StoreUnavailable."""
        lists: dict[tuple[str, str], list[Suppression]] = {}
        for what in dict.fromkeys(batch):
            entry = suppression(what.recipient, Reason.OPTED_OUT, source=SOURCE, scope=what.category)
            lists.setdefault((what.tenant, what.channel), []).append(entry)
        for (tenant, channel), entries in sorted(lists.items()):
            self._store.add_suppressions(tenant, channel, entries)
        return [None] * len(batch)


def _masked(what: OptOut) -> str:
    """The masked address: its owner recognizes it, and others who got a copy see that it is not theirs."""
    return CHANNELS.get(what.channel, Content).masked(what.recipient)


def _says_one_click(headers: Mapping[str, str], body: bytes) -> bool:
    """RFC 8058 asks for multipart/form-data, and allows the other form."""
    if headers.get("content-type", "").strip().lower().startswith("multipart/form-data"):
        return _PART.search(body) is not None
    return page.ONE_CLICK in parse_qsl(body.decode("latin-1").strip(), keep_blank_values=True)
