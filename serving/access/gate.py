"""The one place through which every request passes: who calls, whether they may, how often, and from which page.

Where access is open, whoever is on this machine needs no key: the request must have come in by the loopback interface,
for an address of it, through no proxy and from no page of another origin. All others show one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette._utils import get_route_path
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.key_ring import KeyRing, unauthenticated
from serving.access.limits import Limits
from serving.access.scopes import BROWSER_SCOPES, CALLER, OPEN, PUBLIC, Caller, Calls, Rule, asked
from serving.access.tokens import Tokens
from serving.problems import Problem, problem_of
from serving.settings import ServiceSettings, is_loopback

__all__ = ["Access", "Gate"]

log = logging.getLogger("holdfast.callers")

_READ = frozenset({b"authorization", b"x-api-key", b"origin", b"host", b"access-control-request-method"})
_OF_PROXIES = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"})
_LONGEST_CREDENTIAL = 8_192
_NO_RULE = Rule(None)  # in the place of a method that an address does not have
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST"),
    (
        b"access-control-allow-headers",
        b"authorization, x-api-key, content-type, accept-language, idempotency-key, x-request-id, traceparent",
    ),
    (b"access-control-max-age", b"600"),
]
_EXPOSED = (b"access-control-expose-headers", b"x-request-id, x-release, retry-after")


class Access:
    """What recognises and counts callers, once the store is open."""

    def __init__(self, keys: KeyRing, limits: Limits, tokens: Tokens | None = None) -> None:
        self.keys = keys
        self.limits = limits
        self._tokens = tokens

    def caller(self, text: str) -> Caller:
        """Who shows this credential.

        Raises:
            Problem: 401, nobody known.
        """
        if self._tokens is not None and text.count(".") == 2:
            return self._tokens.caller(text)
        return self.keys.caller(text)


class Gate:
    """Lets requests through to the routes, or raises the problem that they get."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[Route], access: Callable[[], Access]) -> None:
        """`access` gives what recognises callers, and raises the 503 of a service that is starting."""
        self.app = app
        self._calls = Calls(routes)
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        settings: ServiceSettings = scope["app"].state.settings
        headers, through_proxy = _read(scope)
        path, origin = get_route_path(scope), headers.get(b"origin")
        there = self._calls.methods(path)
        if origin is not None and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            rule = there.get(headers[b"access-control-request-method"].decode("latin-1"))
            await self._preflight(rule, origin, send)
            return
        if _is_public(scope["method"], there, path, settings):
            caller = OPEN
        elif not settings.asks_for_keys and (
            settings.allow_open_access or (not through_proxy and _on_this_machine(scope, headers))
        ):
            asked(scope["method"], there)
            caller = OPEN
        else:
            credential = _credential(headers)
            caller = self._access().caller(credential)
            _refuse_page(caller, origin)
            if origin is not None and caller.origins:
                await self._answer_page(scope, receive, send, caller, there, origin)
                return
            await self._admit(caller, scope["method"], there)
        scope[CALLER] = caller
        await self.app(scope, receive, send)

    async def _admit(self, caller: Caller, method: str, there: Mapping[str, Rule | None]) -> None:
        """Raises the problem of a caller who may not, or not now."""
        rule = asked(method, there)
        if rule.scope is not None and rule.scope not in caller.scopes:
            raise Problem(403, f"this call needs the scope {rule.scope}")
        if rule.everybody and (caller.customer_id is not None or caller.visitors_alone):
            raise Problem(403, "this call tells of all customers; you may speak for one alone")
        await self._access().limits.take(caller)

    async def _answer_page(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        caller: Caller,
        there: Mapping[str, Rule | None],
        origin: bytes,
    ) -> None:
        """A page of another origin may read the answer, a problem too."""
        allowed = [(b"access-control-allow-origin", origin), (b"vary", b"Origin"), _EXPOSED]

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].extend(allowed)
            await send(message)

        try:
            await self._admit(caller, scope["method"], there)
            scope[CALLER] = caller
            await self.app(scope, receive, told)
        except Exception as error:  # the one shape of problems is given further out: only headers are added here
            problem = problem_of(error)
            problem.headers |= {name.decode(): value.decode() for name, value in allowed}
            raise problem from None

    async def _preflight(self, rule: Rule | None, origin: bytes, send: Send) -> None:
        """What a browser asks before it lets a page call: whether this origin may, by the keys for pages."""
        origins = self._access().keys.origins
        if rule is None or rule.scope not in BROWSER_SCOPES or origin.decode("latin-1") not in origins:
            raise Problem(403, "pages of this origin may not make this call")
        headers = [(b"access-control-allow-origin", origin), (b"vary", b"Origin"), *_PREFLIGHT]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _is_public(method: str, there: Mapping[str, Rule | None], path: str, settings: ServiceSettings) -> bool:
    """Whether the call needs no key, or is to a public address by another method, which its route refuses by itself.

    Of any other, there or not, strangers are told nothing.
    """
    rule = there.get(method, _NO_RULE)
    if rule is _NO_RULE:
        return bool(there) and all(one is PUBLIC for one in there.values())
    return rule is PUBLIC or (rule is not None and settings.public_metrics and path == "/metrics")


def _read(scope: Scope) -> tuple[dict[bytes, bytes], bool]:
    """The headers that matter here, and whether a proxy sent the request on."""
    found: dict[bytes, Any] = {}
    through_proxy = False
    for name, value in scope["headers"]:
        if name in _READ:
            if name in found:
                raise Problem(400, "a header is given twice that may be given once")
            found[name] = value
        elif name in _OF_PROXIES:
            through_proxy = True
    return found, through_proxy


def _credential(headers: dict[bytes, bytes]) -> str:
    given, key = headers.get(b"authorization"), headers.get(b"x-api-key")
    if given is not None and key is not None:
        raise unauthenticated("send one key, as Authorization: Bearer KEY or as X-Api-Key")
    if given is not None:
        kind, _, key = given.partition(b" ")
        if kind.lower() != b"bearer":
            key = None
    if not key or len(key) > _LONGEST_CREDENTIAL:
        raise unauthenticated("send a key as Authorization: Bearer KEY; holdfast access-keys make gives one")
    return key.strip().decode("latin-1")


def _refuse_page(caller: Caller, origin: bytes | None) -> None:
    if origin is not None and caller.visitors_alone and origin.decode("latin-1") not in caller.origins:
        raise Problem(403, "pages of this origin may not use this key")


def _on_this_machine(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """By the interface and by what was asked for: a page elsewhere can be made to call an address of this machine."""
    server, origin = scope.get("server"), headers.get(b"origin")
    if server is None or not is_loopback(str(server[0])):
        return False
    if origin is not None and not is_loopback(_host(origin.partition(b"://")[2])):
        return False
    return is_loopback(_host(headers.get(b"host", b"localhost")))


def _host(named: bytes) -> str:
    """The host of `host:port`, `[::1]:port` or `host`."""
    text = named.decode("latin-1").strip().lower()
    return text[: text.find("]") + 1] if text.startswith("[") else text.partition(":")[0]
