"""An HTTP function: runs under functions-framework, on any ASGI server, and on Lambda behind an HTTP API."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tidings.api.app import App
from tidings.runtime.api_gateway import answer_event
from tidings.runtime.asgi import Asgi, asgi
from tidings.runtime.container import Container, build_container
from tidings.runtime.start import start


class HttpFunction:
    """Created while the function's module is imported. A wrong setting ends the process: see `start`."""

    def __init__(self, service: str, build: Callable[[Container], App]) -> None:
        self._build = build
        self.container, self.app = start(service, self._create)
        self.asgi: Asgi = asgi(lambda: self.app, flush=self.container.observers.flush)

    def _create(self) -> tuple[Container, App]:
        container = build_container()
        return container, self._build(container)

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """On Lambda: answer an API Gateway event (HTTP API, payload format 2.0)."""
        return answer_event(event, self.app, flush=self.container.observers.flush)


F = TypeVar("F", bound=Callable[..., Any])


def framework_function(function: F) -> F:
    """Tell functions-framework, if it runs us, that the function answers with an ASGI application. Elsewhere, as on
    Lambda, it is not imported: that would be a third of a cold start."""
    if "functions_framework" not in sys.modules:
        return function
    import functions_framework.aio

    declared: Any = functions_framework.aio.http(function)
    return declared  # type: ignore[no-any-return]
