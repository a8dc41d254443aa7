"""An HTTP function: an API under functions-framework, on any ASGI server, and on Lambda behind an HTTP API."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tidings.api.app import App
from tidings.runtime.asgi import Asgi, asgi
from tidings.runtime.container import Container, build_container
from tidings.runtime.gateway import answer_gateway
from tidings.runtime.start import start


class HttpFunction:
    """Made while the function's module is imported; a wrong setting ends the process, see `start`."""

    def __init__(self, service: str, build: Callable[[Container], App]) -> None:
        self._build = build
        self.container, self.api = start(service, self._built)
        self.asgi: Asgi = asgi(lambda: self.api, flush=self.container.observers.flush)

    def _built(self) -> tuple[Container, App]:
        container = build_container()
        return container, self._build(container)

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """On Lambda, an HTTP API event (payload format 2.0)."""
        return answer_gateway(event, self.api, flush=self.container.observers.flush)


F = TypeVar("F", bound=Callable[..., Any])


def framework_function(function: F) -> F:
    """Tell functions-framework, where it runs us, that this answers with an ASGI application. Elsewhere, as on Lambda,
    it is not there, and its import would be a third of a cold start."""
    if "functions_framework" not in sys.modules:
        return function
    import functions_framework.aio

    declared: Any = functions_framework.aio.http(function)
    return declared  # type: ignore[no-any-return]
