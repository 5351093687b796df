"""Decisions, impressions and responses joined into rounds."""

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from features.errors import ArtefactError, ConfigurationError, DataError, NotEnoughDataError
from features.event_log import EventLog
from features.instants import DAY_US
from features.workspace import Workspace
from serving.decisions import Decision, DecisionLog
from serving.exploration import ExplorationSettings, explore, rng_of
from serving.store import Store, decisions
from tests.event_tables import event, event_table, us
from training.logged_recommendations import (
    LoggedRecommendationSettings,
    join_outcomes,
    read_logged_recommendations,
    read_slates,
)
from training.off_policy import OffPolicySettings, evaluate_policy

NOW = us("2024-03-01")
UNTIL = NOW + 10 * DAY_US
HOUR = DAY_US // 24


def recommended(number, items, propensities, customer="k:1", kind="recommendation"):
    return Decision(
        f"r-{number}",
        kind,
        customer,
        NOW + number,
        "first",
        "none",
        "champion",
        item_ids=items,
        propensities=propensities,
    )


def store_with(path: Path, *made: Decision) -> Store:
    store = Store.open(path)
    log = DecisionLog(store, capacity=10_000, count=lambda _outcome, _n: None)
    for one in made:
        log.record(one)
    log.close()
    return store


def shown(number, item, at=HOUR, customer="k:1", **fields):
    return event(customer, "impression", NOW + at, item_id=item, recommendation_id=f"r-{number}", **fields)


def viewed(number, item, at, customer="k:1", kind="view", **fields):
    return event(customer, kind, NOW + at, item_id=item, recommendation_id=f"r-{number}", **fields)


@pytest.fixture
def slates(tmp_path):
    return read_slates(
        store_with(
            tmp_path / "service.db",
            recommended(1, ("pot", "cup", "jug"), (1.0, 0.25, 1.0)),
            recommended(2, ("cup", "jug"), (1.0, 0.5), customer="k:2"),
            recommended(3, ("cup",), None),  # nobody worked its chances out
            recommended(4, None, None, kind="churn"),
        ),
        UNTIL,
    )


def joined(slates, *rows, **settings):
    return join_outcomes(slates, event_table(*rows), UNTIL, LoggedRecommendationSettings(**settings))


def seen(found):
    """By recommendation and item: position, propensity, reward."""
    rounds = found.rounds
    names = [found.slates.decision_ids[one] for one in found.decision]
    return {
        (one, found.slates.item_ids[item]): (position, chance, reward)
        for one, item, position, chance, reward in zip(
            names,
            *(column.tolist() for column in (rounds.actions, rounds.positions, rounds.propensities, rounds.rewards)),
            strict=True,
        )
    }


def test_what_was_shown_is_a_round_with_its_place_its_chance_and_its_reward(slates):
    found = joined(slates, shown(1, "pot"), shown(1, "cup"), shown(2, "jug"), viewed(1, "cup", 2 * HOUR))
    assert seen(found) == {
        ("r-1", "pot"): (0, 1.0, 0.0),
        ("r-1", "cup"): (1, 0.25, 1.0),
        ("r-2", "jug"): (1, 0.5, 0.0),
    }
    assert (found.n_not_shown, found.n_open) == (2, 0)
    assert found.decision.tolist() == [0, 0, 1]
    assert found.since(NOW + 2).rounds.actions.tolist() == found.rounds.actions[2:].tolist()
    assert found.rounds.units[0] == found.rounds.units[1] != found.rounds.units[2]


def test_a_response_counts_once_within_its_window_and_not_before_it_was_shown(slates):
    rows = [shown(1, "pot", 5 * HOUR), shown(1, "pot", 9 * HOUR), shown(1, "cup"), shown(1, "jug"), shown(2, "cup")]
    rows += [viewed(1, "pot", 4 * HOUR)]  # before it was shown
    rows += [viewed(1, "cup", 25 * HOUR - 1), viewed(1, "cup", 2 * HOUR, kind="purchase")]  # twice, one at the very end
    rows += [viewed(1, "jug", 25 * HOUR)]  # the window's end is exclusive
    rows += [viewed(2, "jug", 2 * HOUR), viewed(9, "cup", 2 * HOUR), viewed(2, "tub", 2 * HOUR)]  # not shown, not known
    found = {key: reward for key, (_, _, reward) in seen(joined(slates, *rows)).items()}
    assert found == {("r-1", "pot"): 0.0, ("r-1", "cup"): 1.0, ("r-1", "jug"): 0.0, ("r-2", "cup"): 0.0}


def test_only_the_named_kinds_are_rewards(slates):
    rows = [shown(1, "cup"), viewed(1, "cup", 2 * HOUR)]
    assert joined(slates, *rows).rounds.rewards.tolist() == [1.0]
    assert joined(slates, *rows, kinds=("purchase",)).rounds.rewards.tolist() == [0.0]


def test_what_was_shown_too_lately_or_told_too_late_is_left_out(slates):
    found = joined(
        slates,
        shown(1, "pot", 9 * DAY_US),  # its window ends with what is known
        shown(1, "cup", 9 * DAY_US + 1),
        shown(1, "jug", HOUR, recorded=UNTIL),
        viewed(1, "pot", 9 * DAY_US + HOUR, recorded=UNTIL),
    )
    assert seen(found) == {("r-1", "pot"): (0, 1.0, 0.0)}
    assert found.n_open == 1


def test_places_where_nothing_was_drawn_can_be_left_out(slates):
    rows = [shown(1, "pot"), shown(1, "cup"), shown(2, "cup"), shown(2, "jug")]
    assert set(seen(joined(slates, *rows, explored_only=True))) == {("r-1", "cup"), ("r-2", "jug")}


def test_nothing_to_learn_from_is_said_in_numbers(slates, tmp_path):
    with pytest.raises(NotEnoughDataError, match=r"2 recommendations .* 5 places 0 .* \(5 without an impression"):
        joined(slates, event("k:1", "view", NOW))
    with pytest.raises(NotEnoughDataError, match="holds 0 recommendations with propensities"):
        read_slates(Store.open(tmp_path / "empty.db"), UNTIL)


def test_decisions_from_then_on_are_not_read(tmp_path):
    store = store_with(tmp_path / "service.db", recommended(1, ("a",), (0.5,)), recommended(2, ("a",), (0.5,)))
    assert read_slates(store, NOW + 2).decision_ids == ("r-1",)


def test_decisions_in_which_nothing_was_drawn_need_not_be_read(tmp_path):
    certain, drawn = recommended(1, ("a", "b"), (1.0, 1.0)), recommended(2, ("a", "b"), (1.0, 0.5))
    store = store_with(tmp_path / "service.db", certain, drawn)
    assert read_slates(store, UNTIL).decision_ids == ("r-1", "r-2")
    assert read_slates(store, UNTIL, explored_only=True).decision_ids == ("r-2",)
    with pytest.raises(NotEnoughDataError, match="0 recommendations with a place that explored"):
        read_slates(store_with(tmp_path / "other.db", certain), UNTIL, explored_only=True)


def test_a_damaged_decision_is_refused(tmp_path):
    store = store_with(tmp_path / "service.db", recommended(1, ("a", "b"), (0.5, 0.5)))
    with store.write() as connection:
        connection.execute(sa.update(decisions).values(propensities="[0.5]"))
    with pytest.raises(ArtefactError, match="not one propensity an item"):
        read_slates(store, UNTIL)


@pytest.mark.parametrize(
    "change", [{"kinds": ("click",)}, {"kinds": ()}, {"kinds": ("impression",)}, {"window_days": 0}]
)
def test_a_setting_that_cannot_be_is_refused(change):
    with pytest.raises(ConfigurationError, match="rewards"):
        LoggedRecommendationSettings(**change)


def test_a_better_ranking_is_found_in_the_log_of_an_exploring_shop(tmp_path):
    """Six items, of which nobody knows that the last is best; the second slot explores; the whole road in one."""
    workspace, rng = Workspace(tmp_path), np.random.default_rng(0)
    names, rates = ("a", "b", "c", "d", "e", "f"), np.array([0.2, 0.1, 0.1, 0.1, 0.1, 0.5])
    means, deviations = np.linspace(-2.0, -2.5, 6), np.full(6, 0.5)
    made, rows = [], []
    for number in range(1_500):
        slate = explore(means, deviations, 2, ExplorationSettings((2,), 0.05), rng_of(f"r-{number}"))
        items = tuple(names[place] for place in slate.order)
        made.append(recommended(number, items, tuple(slate.propensities.tolist()), customer=f"k:{number}"))
        for place, item in zip(slate.order, items, strict=True):
            rows.append(shown(number, item, customer=f"k:{number}"))
            if rng.random() < rates[place]:
                rows.append(viewed(number, item, 2 * HOUR, customer=f"k:{number}"))
    store_with(workspace.store, *made).close()
    EventLog.create(workspace.event_log, n_buckets=1).append(event_table(*rows))
    found = read_logged_recommendations(workspace, UNTIL, LoggedRecommendationSettings(explored_only=True))
    assert found.rounds.n == 1_500
    best = found.policy_of({one.decision_id: ("a", "f") for one in made})
    report = evaluate_policy(found.rounds, best, rng, OffPolicySettings(replicates=100, min_effective_sample=100))
    assert report.supported, report.verdict
    told = report.decided()
    assert told.ci_low <= 0.5 <= told.ci_high
    assert told.ci_low > report.logged.ci_high
    unheard_of = found.policy_of({one.decision_id: ("a", "g") for one in made})
    assert not evaluate_policy(found.rounds, unheard_of, rng, OffPolicySettings(replicates=1)).supported


def test_a_ranking_is_asked_for_its_best_item_that_did_not_stand_there_yet(tmp_path):
    """The second and the fourth place were drawn, in this order; the first and the third were certain."""
    made = recommended(1, ("pot", "cup", "jug", "tub"), (1.0, 0.25, 1.0, 0.5))
    slates = read_slates(store_with(tmp_path / "service.db", made), UNTIL)
    found = joined(slates, *(shown(1, item) for item in made.item_ids), explored_only=True)
    assert found.rounds.positions.tolist() == [1, 3]

    def picked(*ranking):
        return [(*slates.item_ids, "unseen")[item] for item in found.policy_of({"r-1": ranking}).items]

    assert picked("pot", "jug", "tub", "cup") == ["tub", "tub"]  # the tub could have been drawn second already
    assert picked("cup", "pan", "tub") == ["cup", "unseen"]  # the cup stood above the fourth; nobody saw the pan
    assert picked("pot") == ["unseen", "unseen"]
    assert found.policy_of({"r-1": ("cup", "tub")}).of(found.rounds.actions).tolist() == [1.0, 1.0]
    with pytest.raises(DataError, match="has no ranking"):
        found.policy_of({"r-2": ("pot",)})
