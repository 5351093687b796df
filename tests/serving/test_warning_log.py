"""Warnings as given: once a cool-down, in order, all or nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.errors import ConfigurationError
from features.instants import DAY_US
from serving import warning_log
from serving.early_warning import WarningRule
from serving.score_book import Book, read_book, write_book
from serving.store import Store
from serving.warning_log import Given, give_warnings, read_warnings
from tests.score_books import NIGHT_US, book_rows, facts

RULE = WarningRule(rise=0.7, rearm_rise=0.2, cool_down_days=28, weekly_capacity=2)
LOSSES = {"k:a": 10, "k:b": 30, "k:c": 20, "k:d": None}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "service.db")
    yield opened
    opened.close()


def book(folder: Path, day: int, probability: float = 0.5, **changed: dict[str, Any]) -> Book:
    people = {key: {"churn_probability": probability, "expected_loss_minor": loss} for key, loss in LOSSES.items()}
    rows = book_rows({key: told | changed.get(key[2:], {}) for key, told in people.items()})
    return read_book(write_book(folder / "scores", facts(NIGHT_US + day * DAY_US), rows, keep=99))


def before(probability: float = 0.2) -> np.ndarray:
    return np.full(len(LOSSES), probability)


def told(store: Store) -> list[str]:
    return [one.customer_key[2:] for one in read_warnings(store, 0, 99)]


def test_the_largest_losses_are_warned_of_first_and_kept_with_all_that_is_told(store: Store, tmp_path: Path) -> None:
    assert give_warnings(store, RULE, book(tmp_path, 0), before()) == Given(4, 4, 2, 2)
    first, second = read_warnings(store, 0, 99)
    assert (first.customer_key, second.customer_key) == ("k:b", "k:c")
    assert (first.expected_loss_minor, first.currency, first.band, first.release) == (30, "EUR", "low", "first")
    assert (first.as_of_us, first.churn_probability, first.probability_before) == (NIGHT_US, 0.5, 0.2)
    assert first.rise == pytest.approx(np.log(4))  # odds from 1/4 to 1
    assert [one.seq for one in read_warnings(store, first.seq, 99)] == [second.seq]


def test_the_same_night_again_warns_nobody_again(store: Store, tmp_path: Path) -> None:
    night = book(tmp_path, 0)
    give_warnings(store, RULE, night, before())
    assert give_warnings(store, RULE, night, before()).n_warned == 0
    assert told(store) == ["b", "c"]


def test_those_who_waited_come_when_the_week_is_over_and_nobody_twice(store: Store, tmp_path: Path) -> None:
    for day in range(9):
        give_warnings(store, RULE, book(tmp_path, day), before())
        assert told(store) == (["b", "c"] if day < 7 else ["b", "c", "a", "d"])


def test_after_cool_down_and_a_calm_a_customer_is_warned_of_again(store: Store, tmp_path: Path) -> None:
    wide = WarningRule(rise=0.7, rearm_rise=0.2, cool_down_days=10, weekly_capacity=99)
    give_warnings(store, wide, book(tmp_path, 0), before())
    give_warnings(store, wide, book(tmp_path, 12), before())
    assert told(store) == ["b", "c", "a", "d"]  # still rising, and not calm in between
    give_warnings(store, wide, book(tmp_path, 13, a={"churn_probability": 0.2}), before())
    give_warnings(store, wide, book(tmp_path, 14), before())
    assert told(store) == ["b", "c", "a", "d", "a"]


def test_who_is_not_eligible_or_was_not_scored_before_is_not_warned_of(store: Store, tmp_path: Path) -> None:
    past = before()
    past[2] = np.nan
    assert give_warnings(store, RULE, book(tmp_path, 0, b={"eligible": False}), past).n_compared == 2
    assert told(store) == ["a", "d"]


def test_a_killed_run_leaves_no_trace_and_the_next_warns_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = book(tmp_path, 0)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(warning_log, "_warnings", killed)
        with pytest.raises(KeyboardInterrupt):
            give_warnings(store, RULE, night, before())
    assert told(store) == []
    give_warnings(store, RULE, night, before())
    assert told(store) == ["b", "c"]


def test_an_earlier_instant_than_the_last_is_refused(store: Store, tmp_path: Path) -> None:
    early = book(tmp_path, 0)
    give_warnings(store, RULE, book(tmp_path, 1), before())
    with pytest.raises(ConfigurationError, match="2024-03-19T00:00:00Z were given already"):
        give_warnings(store, RULE, early, before())
