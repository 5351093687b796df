"""Every call of the API document, made by schemathesis as the document allows and as it does not, and what came of it.

All of schemathesis' checks are on but one: `max_response_time`, which is off unless it is given a limit, since limits
of time belong to benchmarks. Two are told of our conventions:

- `positive_data_acceptance`: a schema cannot say all that a request means, such as a cursor of this very list. So 410
  and 422 are let through there, and `only_the_meaning_is_refused` holds them to the codes of such meanings.
- `negative_data_rejection`: a list of events is taken one by one, so it is 202 for a body with a faulty event, and
  `faulty_events_are_rejected` looks for it among the rejected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema

from tests.fuzzed_shop import FuzzedService
from tests.tiny_shop import ITEMS

__all__ = ["STATEFUL", "Row", "fuzz"]

STATEFUL = "sequences of calls"
"""The label of what was asked along the links of the document."""

KNOWN = ("c1", "c7", "c20", *ITEMS, "first", "second", "default", "2024-02-01T00:00:00Z")
"""What the shop knows: without it nearly every id would be a stranger's."""

PLANTED = ("planted.8c1f27@example.org", "+44 7700 900131 8c1f27", "planted'\"><\u00e98c1f27")
"""Values that no answer holds by chance."""

SHORTEST = 5
"""Characters of a submitted text that is looked for in an answer; shorter ones stand in any sentence."""

_MEANINGS = frozenset(
    {"cursor", "expired", "filter", "idempotency_key_reused", "in_the_future", "page_gone"}
    | {"unknown_placement", "unknown_plan", "unknown_release"}
)
_MEANT = frozenset({("/segment", "unknown_value"), ("", "contradiction")})
"""Pointer and code of faults of an `invalid` request that its schema cannot say."""

_MEMBERS = {"type", "title", "status", "detail", "code", "instance", "request_id"}
_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,39}\Z")  # such a name of an unknown field is told, by intent; no other
_NEVER_SECRET = {"x-request-id", "content-type", "accept-language"}
_SOURCES = Path(__file__).parents[1]


class BrokenPromiseError(Failure):
    """What our own checks find."""


def _broken(case: Any, title: str, message: str = "") -> BrokenPromiseError:
    return BrokenPromiseError(operation=case.operation.label, title=title, message=message)


@schemathesis.check
def every_refusal_is_a_problem(_: Any, response: Any, case: Any) -> None:
    """A refusal has the members of RFC 9457 and ours, each as documented, under its own content type."""
    if response.status_code < 400:
        return
    kind = response.headers.get("content-type", [""])[0]
    if kind != "application/problem+json":
        raise _broken(case, "A refusal is no problem+json", kind)
    told = response.json()
    found = set(told)
    if found - {"errors"} != _MEMBERS or any(
        set(one) != {"pointer", "code", "detail"} for one in told.get("errors", ())
    ):
        raise _broken(case, "A problem has other members than documented", ", ".join(sorted(found)))
    said = response.headers["x-request-id"][0]
    expected = (response.status_code, f"urn:holdfast:problem:{told['code']}", said, f"urn:holdfast:request:{said}")
    if (told["status"], told["type"], told["request_id"], told["instance"]) != expected:
        raise _broken(case, "A problem contradicts its answer", str(told))


@schemathesis.check
def nothing_sent_is_echoed(_: Any, response: Any, case: Any) -> None:
    """No value that was sent stands in a refusal, be it of the whole request or of one of its rows."""
    told = "\n".join(_texts(_refused_parts(response), names=False))
    if not told:
        return
    for text in {one for one in _sent(case) if len(one) >= SHORTEST and not one.isspace()}:
        if text in told and text not in _own_words():
            raise _broken(case, "A refusal echoes what was sent", f"{text!r} in {told!r}")


@schemathesis.check
def only_the_meaning_is_refused(_: Any, response: Any, case: Any) -> None:
    """What fits the schema is refused for a meaning that no schema can say, and for nothing else."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in {410, 422}:
        return
    told = response.json()
    faults = {(one["pointer"], one["code"]) for one in told.get("errors", ())}
    if told["code"] not in _MEANINGS and not (told["code"] == "invalid" and faults and faults <= _MEANT):
        raise _broken(case, "What fits the schema was refused", f"{told['code']} {sorted(faults)}")


@schemathesis.check
def faulty_events_are_rejected(_: Any, response: Any, case: Any) -> None:
    """A body that does not fit and is taken all the same tells of its faulty events."""
    if case.operation.path != "/v1/events" or response.status_code != 202 or case.meta is None:
        return
    told = response.json()
    n_sent = len(case.body["events"])
    if n_sent != told["accepted"] + told["deduplicated"] + len(told["rejected"]):
        raise _broken(case, "An event is neither accepted nor known nor rejected", str(told))
    is_faulty = any(place.name == "BODY" and one.mode.is_negative for place, one in case.meta.components.items())
    if is_faulty and not told["rejected"]:
        raise _broken(case, "A body that does not fit was taken whole", str(told))


def _refused_parts(response: Any) -> Any:
    """A whole problem, or what an answer tells of rows that were refused."""
    if response.status_code >= 400:
        return {name: value for name, value in response.json().items() if name not in {"instance", "request_id"}}
    if response.headers.get("content-type", [""])[0] != "application/json":
        return ()
    told = response.json()
    return [told.get("rejected", ()), [one.get("problem", ()) for one in told.get("results", ())]]


def _sent(case: Any) -> Iterator[str]:
    yield from _texts([case.path_parameters, case.query, case.cookies])
    yield from _texts([value for name, value in case.headers.items() if name.lower() not in _NEVER_SECRET])
    body = case.body
    yield from [body.decode("latin-1")] if isinstance(body, bytes) else _texts(body)


def _texts(given: Any, *, names: bool = True) -> Iterator[str]:
    """All texts in a value; with `names` the keys of objects too, unless they look like names of fields."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, Mapping):
        yield from (str(name) for name in given if names and not _FIELD_NAME.match(str(name)))
        for value in given.values():
            yield from _texts(value, names=names)
    elif isinstance(given, Sequence):
        for value in given:
            yield from _texts(value, names=names)


@cache
def _own_words() -> str:
    """Our own sources, out of which schemathesis takes texts to send, and in which every sentence of ours stands."""
    files = (path for part in ("features", "serving") for path in sorted((_SOURCES / part).rglob("*")))
    return "\n".join(path.read_text() for path in files if path.suffix in {".py", ".toml"})


@dataclass
class Row:
    """What came of the calls of one operation: how many answers of each status, and what was wrong with how many."""

    statuses: Counter[int] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)

    @property
    def examples(self) -> int:
        """How many calls were answered."""
        return self.statuses.total()

    @property
    def good_share(self) -> float:
        """The share of answers that are no refusal."""
        return sum(n for status, n in self.statuses.items() if status < 400) / max(1, self.examples)


def fuzz(
    service: FuzzedService,
    n_examples: int,
    *,
    seed: int = 1,
    told: Callable[[str, Row], object] = lambda label, row: None,
) -> dict[str, Row]:
    """Ask at least `n_examples` times for each operation, and along its links; the rows by operation.

    `told` hears of each operation when it has been asked for.

    Everything is drawn from `seed`. An operation's row counts what was drawn and what schemathesis asks besides:
    examples, every boundary of its schema, other methods, other content types, no key and a wrong one.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.app, config=_config(n_examples, seed))

    @schema.auth(cache_by_key=lambda case, _: case.operation.label)
    class KeyOfScope:
        def get(self, case: Any, _: Any) -> str | None:
            needed = case.operation.definition.raw.get("security")
            return service.keys[next(iter(needed[0].values()))[0]] if needed else None

        def set(self, case: Any, key: str, _: Any) -> None:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {key}"}

    rows: dict[str, Row] = {}
    for event in from_schema(schema).execute():
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            rows.setdefault(event.label, Row()).violations[f"not asked: {event.value!r}"] += 1
        if isinstance(event, events.ScenarioFinished):
            _count(rows, event)
            if event.phase.value == "fuzzing" and event.label in rows:
                told(event.label, rows[event.label])
    return rows


def _config(n_examples: int, seed: int) -> SchemathesisConfig:
    known = {"dictionary": "known", "probability": 0.3}
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "cache": {"enabled": False},
            "continue-on-failure": True,
            "dictionaries": {
                "known": {"values": [*KNOWN, *PLANTED]},
                "releases": {"values": ["first", "second"]},
            },
            "generation": {
                "max-examples": n_examples,
                "no-shrink": True,
                "database": "none",
                "dictionaries": {"string": known},
            },
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 401, 403, 404, 409, 410, 422]}},
            "operations": [
                {
                    "include-path": "/v1/events",
                    "checks": {"negative_data_rejection": {"expected-statuses": [202, 400, 401, 413, 415, 422]}},
                },
                {
                    "include-path": "/v1/rollouts",
                    "parameters": {"body.release": {"dictionary": "releases", "probability": 0.8}},
                },
            ],
        }
    )


def _count(rows: dict[str, Row], event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for case_id, node in recorder.cases.items():
        row = rows.setdefault(STATEFUL if event.phase.value == "stateful" else node.value.operation.label, Row())
        interaction = recorder.interactions.get(case_id)
        if interaction is not None and interaction.response is not None:
            row.statuses[interaction.response.status_code] += 1
        for check in recorder.checks.get(case_id, ()):
            if check.status != Status.SUCCESS:
                row.violations[f"{check.name}: {_words(check.failure_info, interaction)}"] += 1


def _words(found: Any, interaction: Any) -> str:
    if found is None:
        return "the check itself failed"
    told = "" if interaction is None or interaction.response is None else interaction.response.text[:300]
    return f"{found.failure.title}: {found.failure.message}\n{found.code_sample}\n{told}"
