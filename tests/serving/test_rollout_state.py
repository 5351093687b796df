"""The rollout state: every change atomic, reasoned and logged; shares only widen."""

import dataclasses
from pathlib import Path

import pytest

from features.errors import ConfigurationError
from serving.rollouts.promotion_log import OLDER_ALLOWED, older_allowed, read_history
from serving.rollouts.state import (
    Change,
    finish_rollout,
    read_rollout,
    rollback,
    set_champion,
    set_share,
    start_rollout,
)
from serving.store import Store

BY = Change("ada", 7, "a test", {"auc": 0.8})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "service.db")


def test_nothing_is_served_before_a_champion_is_set(store: Store) -> None:
    assert read_rollout(store) is None
    with pytest.raises(ConfigurationError, match="set a champion first"):
        start_rollout(store, "b", 0.1, "s", BY)


def test_a_rollout_goes_from_start_to_champion(store: Store) -> None:
    set_champion(store, "a", BY)
    start_rollout(store, "b", 0.1, "s", BY)
    state = set_share(store, 0.5, BY)
    assert (state.champion, state.challenger, state.share, state.key) == ("a", "b", 0.5, "rollout-s")
    state = finish_rollout(store, BY)
    assert (state.champion, state.challenger, state.share, state.previous) == ("b", None, 0.0, "a")
    assert read_rollout(store) == state


def test_a_share_never_narrows(store: Store) -> None:
    set_champion(store, "a", BY)
    start_rollout(store, "b", 0.5, "s", BY)
    with pytest.raises(ConfigurationError, match="only widens"):
        set_share(store, 0.4, BY)
    with pytest.raises(ConfigurationError, match=r"lies in \[0, 1\]"):
        set_share(store, 1.5, BY)


def test_rollback_takes_the_challenger_away(store: Store) -> None:
    set_champion(store, "a", BY)
    start_rollout(store, "b", 0.5, "s", BY)
    state = rollback(store, BY)
    assert (state.champion, state.challenger, state.share) == ("a", None, 0.0)


def test_rollback_after_a_promotion_goes_to_the_champion_before(store: Store) -> None:
    set_champion(store, "a", BY)
    set_champion(store, "b", BY)
    assert rollback(store, BY).champion == "a"
    with pytest.raises(ConfigurationError, match="nothing to go back to"):
        rollback(store, BY)


def test_a_second_rollout_is_refused_while_one_is_under_way(store: Store) -> None:
    set_champion(store, "a", BY)
    start_rollout(store, "b", 0.5, "s", BY)
    with pytest.raises(ConfigurationError, match="under way"):
        start_rollout(store, "c", 0.5, "t", BY)


def test_every_change_is_in_the_log_with_who_when_from_to_why_and_figures(store: Store) -> None:
    set_champion(store, "a", BY)
    start_rollout(store, "b", 0.25, "s", BY)
    newest, first = read_history(store)
    assert (first["action"], first["before"], first["after"]["champion"]) == ("set_champion", {}, "a")
    assert (newest["who"], newest["at_us"], newest["why"], newest["figures"]) == ("ada", 7, "a test", {"auc": 0.8})
    assert (newest["before"]["share"], newest["after"]["share"]) == (0.0, 0.25)


def test_a_refused_change_leaves_no_trace(store: Store) -> None:
    set_champion(store, "a", BY)
    with pytest.raises(ConfigurationError):
        finish_rollout(store, BY)
    assert len(read_history(store)) == 1


def test_an_older_release_is_allowed_by_the_change_that_last_brought_it_in(store: Store) -> None:
    allowing = dataclasses.replace(BY, figures={OLDER_ALLOWED: 1.0})
    set_champion(store, "a", BY)
    start_rollout(store, "b", 0.1, "s", allowing)
    assert (older_allowed(store, "b"), older_allowed(store, "a"), older_allowed(store, "c")) == (True, False, False)
    finish_rollout(store, BY)
    assert older_allowed(store, "b")
    start_rollout(store, "c", 0.1, "t", BY)
    rollback(store, BY)
    rollback(store, BY)
    start_rollout(store, "b", 0.1, "u", BY)
    assert not older_allowed(store, "b")
