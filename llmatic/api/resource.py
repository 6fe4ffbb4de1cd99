"""One path and the methods that it takes.

Gives HEAD the headers of GET, answers OPTIONS, and refuses other methods, and callers without the scope, in
OpenAI's words. Event loop's thread.
"""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llmatic.api.errors import missing_scope, wrong_method
from llmatic.core.principal import Scope as Need


class Resource:
    """ASGI endpoint that hands a request to the handler of its method.

    `route` names the path in metrics, whatever is filled into its placeholders. `needs`: the scope that
    callers must have, None for no particular one.
    """

    def __init__(self, route: str, methods: Mapping[str, ASGIApp], *, needs: Need | None = None) -> None:
        self.route = route
        self.needs = needs
        self._handlers = dict(methods)
        if "GET" in methods:
            # The server leaves the body of an answer to HEAD out.
            self._handlers["HEAD"] = methods["GET"]
        self._allow = (*sorted(methods), *(["HEAD"] if "GET" in methods else []), "OPTIONS")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises WrongMethod, Forbidden."""
        handler = self._handlers.get(scope["method"])
        if handler is not None:
            if self.needs is not None and not scope["llmatic.principal"].may(self.needs):
                raise missing_scope(self.needs)
            await handler(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            headers = [(b"allow", ", ".join(self._allow).encode("ascii"))]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            raise wrong_method(scope["method"], scope["path"], self._allow)


def route(path: str, needs: Need | None, /, **methods: ASGIApp) -> BaseRoute:
    """A path, the scope that its callers need, and the handler of each of its methods."""
    return Route(path, Resource(path, methods, needs=needs))
