from __future__ import annotations

import numpy as np
import pytest

from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.recent_steps import RecentSteps
from serving.sources.session_knn import SessionKnnSource
from serving.sources.source import Explaining


def sessions(lists, days, **given):
    settings = {"neighbours": 10, "most_sessions": 10, "half_life_days": 10.0, "reach": 1.0} | given
    items = [item for one in lists for item in one]
    return SessionKnnSource(
        np.cumsum([0, *map(len, lists)]),
        np.array(items, np.int32),
        np.array(days, np.int32),
        np.bincount(items, minlength=6),
        steps=RecentSteps(0.5, 0),
        **settings,
    )


# three sessions on one day: 0 1 2 3; 0 4; 5 1
SOURCE = sessions([[0, 1, 2, 3], [0, 4], [5, 1]], [7, 7, 7])
EVERY = np.arange(6)[None]


def asked(*items):
    return Histories.of_lists([items], 6)


def test_near_sessions_give_what_lies_near_the_item_they_share():
    # sessions of item 0: one of four items worth 1/2, one of two worth 1/sqrt(2); each place away halves
    found = SOURCE.scores(asked(0), EVERY)[0]
    expected = [np.nan, 1 / 4, 1 / 8, 1 / 16, 1 / 2**0.5 / 2, np.nan]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_last_step_counts_most_and_the_latest_shared_item_is_where_distance_starts():
    # after 0 and then 1: the first session holds both, (1/2 + 1) / 2, from item 1 on; the third 1/sqrt(2)
    found = SOURCE.scores(asked(0, 1), EVERY)[0]
    expected = [0.75 / 2, np.nan, 0.75 / 2, 0.75 / 4, 0.5 / 2**0.5 / 2, 1 / 2**0.5 / 2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_older_session_counts_less():
    found = sessions([[0, 1], [0, 2]], [0, 10]).scores(asked(0), EVERY)[0]
    np.testing.assert_allclose(found[1] / found[2], 0.5, rtol=1e-6)


def test_only_the_nearest_sessions_and_of_an_item_the_last_ones_speak():
    assert sessions([[0, 1], [0, 2]], [7, 7], neighbours=1).propose(asked(0), 5).places[0, :2].tolist() == [2, -1]
    assert sessions([[0, 1], [0, 2]], [7, 7], most_sessions=1).propose(asked(0), 5).places[0, :2].tolist() == [2, -1]


def test_the_step_that_weighs_most_is_named():
    assert isinstance(SOURCE, Explaining)
    # after 0 and then 1: item 2 lies beside both, and 1 is the later; item 4 beside 0 alone, item 0 beside 1
    assert SOURCE.leading(asked(0, 1), 0, np.array([2, 4, 0, 5])).tolist() == [1, 0, 1, 1]
    assert SOURCE.leading(asked(4), 0, np.array([2, 4])).tolist() == [-1, -1]
    assert SOURCE.leading(Histories.nobody(0), 0, np.array([1])).tolist() == [-1]


def test_what_is_bought_everywhere_can_count_less():
    lists = [[0, 1], [0, 2], [3, 1], [4, 1], [5, 1]]
    found = sessions(lists, [7] * 5, rarity_power=0.5).scores(asked(0), EVERY)[0]
    np.testing.assert_allclose(found[1] / found[2], 0.5, rtol=1e-6)  # item 1 is in four sessions


def test_sessions_hold_no_id_and_are_refused_where_they_do_not_go_together():
    settings, arrays = SOURCE.to_parts()
    assert set(arrays) == {"offsets", "items", "ended_days", "popularity"}
    broken = [
        {"offsets": np.array([0, 4, 6, 7])},
        {"items": arrays["items"] + np.int32(1)},
        {"ended_days": np.array([7, 6, 7], np.int32)},
    ]
    for part in broken:
        with pytest.raises(ArtefactError):
            SessionKnnSource.from_parts(settings, arrays | part)
    for wrong in ({"rarity_power": 2.0}, {"steps": None}, {"reach": 0.0}, {"more": 1.0}):
        with pytest.raises(ArtefactError, match="settings"):
            SessionKnnSource.from_parts(settings | wrong, arrays)
