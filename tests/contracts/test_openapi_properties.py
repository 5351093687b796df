"""Whatever schemathesis sends keeps to the API document, both ways; `make bench-schema` sends far more of it."""

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.bench_schema import limits
from serving.api import openapi
from tests.fuzzed_api import (
    PLANTED,
    STATEFUL,
    BrokenPromiseError,
    Row,
    every_refusal_is_a_problem,
    fuzz,
    nothing_sent_is_echoed,
    only_the_meaning_is_refused,
)
from tests.fuzzed_shop import fuzzed_service

N_EXAMPLES = 12


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Row]]:
    with fuzzed_service(tmp_path_factory.mktemp("fuzzed")) as service:
        yield fuzz(service, N_EXAMPLES)


@pytest.mark.slow
def test_every_answer_keeps_to_the_document_and_every_refusal_echoes_nothing(rows: dict[str, Row]) -> None:
    assert not {label: list(row.violations)[:3] for label, row in rows.items() if row.violations}


@pytest.mark.slow
def test_every_operation_is_reached_and_none_fails_or_sheds(rows: dict[str, Row]) -> None:
    described = {f"{name.upper()} {path}" for path, calls in openapi.document()["paths"].items() for name in calls}
    assert described == set(rows) - {STATEFUL}
    for label, row in rows.items():
        assert row.examples >= N_EXAMPLES, label
        assert row.good_share > 0, (label, row.statuses)
        assert not {status for status in row.statuses if status >= 500 or status == 429}, (label, row.statuses)


PROBLEM = openapi.examples.PROBLEM


def asked(**sent: Any) -> Any:
    """A call as schemathesis keeps it, of what fits the document."""
    empty = {"path_parameters": {}, "query": {}, "cookies": {}, "headers": {}, "body": None}
    meta = SimpleNamespace(generation=SimpleNamespace(mode=SimpleNamespace(is_positive=True)))
    operation = SimpleNamespace(label="GET /", path="/")
    return SimpleNamespace(**empty | sent, meta=meta, operation=operation)


def answered(status: int = 422, *, kind: str = "application/problem+json", **differs: Any) -> Any:
    told = {**PROBLEM, "status": status, **differs}
    headers = {"content-type": [kind], "x-request-id": [PROBLEM["request_id"]]}
    return SimpleNamespace(status_code=status, headers=headers, json=lambda: told, text=str(told))


@pytest.mark.parametrize(
    ("check", "response", "case"),
    [
        (every_refusal_is_a_problem, answered(kind="application/json"), asked()),
        (every_refusal_is_a_problem, answered(request_id="another"), asked()),
        (every_refusal_is_a_problem, answered(errors=[{"pointer": "", "code": "", "detail": "", "input": 1}]), asked()),
        (every_refusal_is_a_problem, answered(hint="more than is documented"), asked()),
        (nothing_sent_is_echoed, answered(detail=f"{PLANTED[0]} is wrong"), asked(query={"band": PLANTED[0]})),
        (nothing_sent_is_echoed, answered(detail="anna@example.org"), asked(body=[{"anna@example.org": 1}])),
        (nothing_sent_is_echoed, answered(detail="hfs_1.secret?"), asked(headers={"X-Api-Key": "hfs_1.secret"})),
        (
            nothing_sent_is_echoed,
            answered(202, kind="application/json", rejected=[{"index": 0, "message": f"no kind {PLANTED[2]}"}]),
            asked(body={"events": [{"kind": PLANTED[2]}]}),
        ),
        (only_the_meaning_is_refused, answered(code="invalid"), asked()),
    ],
)  # fmt: skip
def test_each_check_of_ours_sees_what_it_is_there_for(check: Any, response: Any, case: Any) -> None:
    with pytest.raises(BrokenPromiseError):
        check(None, response, case)


def test_a_good_refusal_passes_every_check_of_ours() -> None:
    refusal, case = answered(code="filter", type="urn:holdfast:problem:filter"), asked(query={"band": PLANTED[0]})
    for check in (every_refusal_is_a_problem, nothing_sent_is_echoed, only_the_meaning_is_refused):
        check(None, refusal, case)


BAD = (
    Row(Counter({200: 999})),
    Row(Counter({200: 999, 500: 1})),
    Row(Counter({200: 999, 429: 1})),
    Row(Counter({200: 50, 422: 950})),
    Row(Counter({200: 1_000}), Counter({"a check: what it found": 1})),
)


def test_the_benchmark_fails_at_one_fault_of_one_operation() -> None:
    good = {"GET /livez": Row(Counter({200: 900, 422: 100})), STATEFUL: Row(Counter({200: 1, 404: 9}))}
    assert all(limits(good, 1_000).values())
    for bad in BAD:
        assert list(limits({**good, "GET /": bad}, 1_000).values()).count(False) == 1
