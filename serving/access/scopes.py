"""Who may do what: one table of calls, and what each asks of its caller. A call that is not in it is refused to all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.routing import Route

from serving.problems import Problem

__all__ = [
    "BROWSER_SCOPES",
    "CALLER",
    "CALLS",
    "OPEN",
    "PUBLIC",
    "SCOPES",
    "Caller",
    "Calls",
    "Rule",
    "asked",
    "granted",
]

SCOPES = ("predict", "recommend", "events", "rollout", "admin", "audit")
BROWSER_SCOPES = frozenset({"recommend", "events"})
"""All that a key may do which everybody can read in a page."""

_IMPLIED = {"admin": frozenset(SCOPES), "rollout": frozenset({"rollout", "audit"})}

CALLER = "holdfast.caller"
"""Where the caller stands in the scope of a request."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, once recognised.

    `name` may stand in logs and metrics; `owner` is whose key it is. `customer_id` is the one customer for whom the
    caller may speak, `visitors_alone` says that it may name no customer; with neither it speaks for everybody.
    `origins` are those of the pages that may use it. `per_minute` and `per_day` bound its calls; None is no bound.
    """

    name: str
    owner: str
    scopes: frozenset[str]
    customer_id: str | None = None
    visitors_alone: bool = False
    origins: frozenset[str] = frozenset()
    per_minute: int | None = None
    per_day: int | None = None

    def may_name(self, customer_id: str | None) -> bool:
        """Whether it may ask or tell something of this customer; None, a visitor, is free to name."""
        if customer_id is None:
            return True
        return not self.visitors_alone and self.customer_id in (None, customer_id)


OPEN = Caller("open", "open", frozenset(SCOPES))
"""Whoever calls where no key is asked for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a call asks: `scope` None is public, `everybody` tells of all customers, so not to who speaks for one."""

    scope: str | None
    everybody: bool = False


PUBLIC = Rule(None)
_PREDICT, _RECOMMEND, _EVENTS, _AUDIT = Rule("predict"), Rule("recommend"), Rule("events"), Rule("audit")
_LISTS, _ROLLOUT = Rule("predict", everybody=True), Rule("rollout", everybody=True)

CALLS: Mapping[tuple[str, str], Rule] = {
    ("GET", "/v1/customers/{customer_id:path}/churn"): _PREDICT,
    ("POST", "/v1/churn/score:batch"): _LISTS,
    ("GET", "/v1/customers"): _LISTS,
    ("GET", "/v1/scores/changes"): _LISTS,
    ("GET", "/v1/warnings"): _LISTS,
    ("POST", "/v1/recommendations"): _RECOMMEND,
    ("GET", "/v1/recommendations"): _RECOMMEND,
    ("POST", "/v1/rank"): _RECOMMEND,
    ("POST", "/v1/items/{item_id:path}/similar"): _RECOMMEND,
    ("GET", "/v1/items/{item_id:path}/similar"): _RECOMMEND,
    ("POST", "/v1/events"): _EVENTS,
    ("GET", "/v1/releases"): _AUDIT,
    ("GET", "/v1/rollouts"): _AUDIT,
    ("POST", "/v1/rollouts"): _ROLLOUT,
    ("GET", "/v1/rollouts/served"): Rule("audit", everybody=True),
    ("POST", "/v1/rollouts/current:step"): _ROLLOUT,
    ("POST", "/v1/rollouts/current:promote"): _ROLLOUT,
    ("POST", "/v1/rollouts/current:rollback"): _ROLLOUT,
    ("POST", "/v1/rollouts/current:approve"): _ROLLOUT,
    ("POST", "/v1/rollouts/current:pause"): _ROLLOUT,
    ("POST", "/v1/rollouts/current:resume"): _ROLLOUT,
    ("GET", "/metrics"): _AUDIT,
    ("GET", "/livez"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/openapi.json"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/docs/{asset}"): PUBLIC,
    ("GET", "/"): PUBLIC,
}
"""Every call, by its method and the path of its route."""


def granted(scopes: frozenset[str]) -> frozenset[str]:
    """What these scopes allow: `admin` is all of them, `rollout` may also read what `audit` reads."""
    return scopes.union(*(_IMPLIED.get(scope, ()) for scope in scopes))


class Calls:
    """Finds the rule of a request by the patterns of the routes themselves, in their order."""

    def __init__(self, routes: Sequence[Route], table: Mapping[tuple[str, str], Rule] = CALLS) -> None:
        self._plain: dict[str, dict[str, Rule | None]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Rule | None]]] = []
        for route in routes:
            rules = self._rules_at(route)
            for method in route.methods or ():
                rules[method] = table.get(("GET" if method == "HEAD" else method, route.path))

    def _rules_at(self, route: Route) -> dict[str, Rule | None]:
        if "{" not in route.path:
            return self._plain.setdefault(route.path, {})
        for pattern, rules in self._patterns:
            if pattern == route.path_regex:
                return rules
        self._patterns.append((route.path_regex, {}))
        return self._patterns[-1][1]

    def methods(self, path: str) -> Mapping[str, Rule | None]:
        """The rules at an address, by method; empty where there is nothing."""
        found = self._plain.get(path)
        if found is not None:
            return found
        for pattern, rules in self._patterns:
            if pattern.match(path):
                return rules
        return {}


def asked(method: str, there: Mapping[str, Rule | None]) -> Rule:
    """What a call asks, by the rules at its address.

    Raises:
        Problem: 404 nothing is there, 405 not by this method, 403 the call is in no table.
    """
    if not there:
        raise Problem(404, "there is nothing at this address; see /docs")
    if method not in there:
        raise Problem(405, "see the Allow header for what it takes", headers={"Allow": ", ".join(sorted(there))})
    rule = there[method]
    if rule is None:
        raise Problem(403, "this call is open to nobody")
    return rule
