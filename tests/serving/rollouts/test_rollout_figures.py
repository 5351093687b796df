"""What the gates are given: outcomes from decisions and events, scores as they spread, totals of the right arms."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.decisions import Decision, DecisionLog
from serving.evidence.confidence_sequences import ArmTotals
from serving.rollouts import arm_totals
from serving.rollouts.figures import ScoreSpread
from serving.rollouts.outcomes import FigureReader, read_outcomes
from serving.rollouts.state import Change, RolloutState, rollback, set_champion, set_share, start_rollout
from serving.store import Store
from tests.postgres_server import PostgresServer

NOW_US = 1_700_000_000_000_000
BY = Change("ada", NOW_US, "a test")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        made = Store.open(server.empty())
    else:
        made = Store.open(tmp_path / "service.db")
    set_champion(made, "a", BY)
    yield made
    made.close()


def started(store: Store, share: float = 0.25) -> RolloutState:
    return start_rollout(store, "b", share, "s", BY)


def answered(store: Store, *rows: tuple[str, str, int, float | None]) -> None:
    """Decisions: customer, arm, instant, churn probability."""
    log = DecisionLog(store, capacity=10_000, count=lambda *_: None)
    for customer, arm, at_us, probability in rows:
        release = "b" if arm == "challenger" else "a"
        experiment = "none" if arm == "champion" else "rollout-s"
        log.record(Decision(f"d-{customer}", "churn", customer, at_us, release, experiment, arm, probability))
    log.close()


def bought(store: Store, *rows: tuple[str, int, int, str]) -> None:
    """Events: customer, instant, money, kind."""
    with store.write() as connection:
        n = len(rows)
        events = [
            {
                "event_id": f"e-{customer}-{at_us}-{kind}-{place}-{n}",
                "customer_key": customer,
                "occurred_at": at_us,
                "kind": kind,
                "item_id": "tea",
                "amount_minor": money,
                "currency": "EUR",
            }
            for place, (customer, at_us, money, kind) in enumerate(rows)
        ]
        store.append_events(connection, events, NOW_US + 10_000)


def test_a_customer_counts_once_with_what_was_bought_after_the_first_answer(store: Store) -> None:
    answered(store, ("before", "challenger", NOW_US, 0.1))
    bought(store, ("c1", NOW_US + 500, 70, "purchase"))  # before the step
    state = started(store)
    answered(
        store,
        ("c1", "challenger", NOW_US + 100, 0.1),
        ("c1", "challenger", NOW_US + 300, 0.1),
        ("c2", "challenger", NOW_US + 100, 0.2),
        ("c3", "challenger", NOW_US + 100, 0.3),
        ("k1", "control", NOW_US + 100, 0.1),
        ("k2", "control", NOW_US + 100, 0.2),
        ("rest", "champion", NOW_US + 100, 0.2),
    )
    bought(
        store,
        ("c1", NOW_US + 200, 300, "purchase"),
        ("c1", NOW_US + 400, 100, "purchase"),
        ("c2", NOW_US + 50, 999, "purchase"),  # before the first answer
        ("c3", NOW_US + 200, 500, "return"),
        ("k2", NOW_US + 200, 250, "purchase"),
        ("rest", NOW_US + 200, 999, "purchase"),
    )
    found = read_outcomes(store, state)
    assert (found.challenger_purchases, found.control_purchases) == (ArmTotals.of_rate(3, 1), ArmTotals.of_rate(2, 1))
    assert (found.challenger_revenue, found.control_revenue) == (ArmTotals(3, 400, 160_000), ArmTotals(2, 250, 62_500))


def test_who_was_in_both_arms_of_a_step_counts_for_neither_and_a_new_step_begins_anew(store: Store) -> None:
    state = started(store, 0.5)
    answered(store, ("c1", "challenger", NOW_US, 0.1), ("c1", "control", NOW_US, 0.1), ("k1", "control", NOW_US, 0.1))
    assert read_outcomes(store, state).challenger_purchases.n == 0
    assert read_outcomes(store, state).control_purchases.n == 1
    assert read_outcomes(store, set_share(store, 0.75, BY)).control_purchases.n == 0


def test_money_of_a_large_shop_does_not_overflow(store: Store) -> None:
    state = started(store)
    answered(store, ("c1", "challenger", NOW_US, 0.1))
    bought(store, *[("c1", NOW_US + 1 + place, 2_000_000_000_000, "purchase") for place in range(3)])
    assert read_outcomes(store, state).challenger_revenue.squares == 36e24


def test_at_a_hundred_percent_the_hold_out_is_compared_with(store: Store) -> None:
    state = started(store, 1.0)
    answered(store, ("c1", "challenger", NOW_US, 0.1), ("h1", "holdout", NOW_US, 0.1))
    assert read_outcomes(store, state).control_purchases.n == 1


def test_scores_spread_by_the_newest_of_different_customers(store: Store) -> None:
    state = started(store)
    varied = [(f"c{place}", "challenger", NOW_US, place / 100.0) for place in range(60)]
    answered(store, *varied, *[(f"k{place}", "control", NOW_US, 0.5 + (place % 2) / 10.0) for place in range(30)])
    found = FigureReader(store)(state, NOW_US)
    assert (found.challenger_scores, found.control_scores) == (ScoreSpread(50, 1), ScoreSpread(30, 15))
    answered(store, *[(f"c{place}", "challenger", NOW_US, 0.5) for place in range(50)])
    assert FigureReader(store)(state, NOW_US).challenger_scores == ScoreSpread(50, 50)


@pytest.fixture
def counted(store: Store) -> Callable[..., None]:
    def count(experiment: str, arm: str, n: int, at_us: int = NOW_US + 5) -> None:
        totals = arm_totals.ArmTotals(store, lambda: at_us, f"w-{arm}-{n}")
        totals.answered(experiment, "b", arm, n=n)
        totals.close()

    return count


@pytest.mark.parametrize(
    ("share", "ours", "theirs"), [(0.0, 7, 1 + 2 + 4), (0.25, 3, 1), (1.0, 3, 4)], ids=["shadow", "quarter", "all"]
)
def test_the_arms_that_are_compared(
    store: Store, counted: Callable[..., None], share: float, ours: int, theirs: int
) -> None:
    state = started(store, share)
    for arm, n in {"control": 1, "champion": 2, "challenger": 3, "holdout": 4, "shadow": 7}.items():
        counted("rollout-s", arm, n)
        counted("rollout-other", arm, 100)
    found = FigureReader(store)(state, NOW_US + 9)
    assert (found.challenger.n_requests, found.control.n_requests) == (ours, theirs)
    assert found.newest_us == NOW_US + 5


def test_figures_of_a_rollout_that_was_taken_back_do_not_come_again(store: Store, counted: Callable[..., None]) -> None:
    started(store)
    counted("rollout-s", "challenger", 9)
    rollback(store, BY)
    again = start_rollout(store, "b", 0.25, "t", BY)
    assert FigureReader(store)(again, NOW_US + 9).challenger.n_requests == 0
