from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.neighbours import ItemNeighbours
from serving.sources.recent_steps import RecentSteps
from serving.sources.source import Explaining
from serving.sources.transitions import TransitionSource

S = np.array([[0, 4, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0], [8, 0, 0, 0]], np.float32)
SOURCE = TransitionSource(ItemNeighbours.of_matrix(csr_matrix(S)), RecentSteps(0.5, 0))


def test_the_last_step_speaks_loudest():
    # 1 then 0: item 0 weighs 1, item 1 weighs 1/2. Item 1: 4; item 2: 1 + 2/2
    histories = Histories.of_lists([[1, 0], [0, 1], [2], []], 4)
    nan = np.nan
    expected = [[nan, 4, 2, nan], [nan, 2, 2.5, nan], [nan] * 4, [nan] * 4]
    found = SOURCE.scores(histories, np.tile(np.arange(4), (4, 1)))
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert SOURCE.propose(histories, 2).places.tolist() == [[1, 2], [2, 1], [-1, -1], [-1, -1]]


def test_a_new_step_changes_what_comes_first():
    before, after = Histories.of_lists([[0]], 4), Histories.of_lists([[0, 3]], 4)
    assert SOURCE.propose(before, 1).places.tolist() == [[1]]
    assert SOURCE.propose(after, 1).places.tolist() == [[0]]


def test_the_step_that_adds_most_is_named():
    assert isinstance(SOURCE, Explaining)
    # item 2 gets 1 from item 0, the last step, and 2/2 from item 1: the first of equals; item 3 from nobody
    histories = Histories.of_lists([[1, 0]], 4)
    assert SOURCE.leading(histories, 0, np.array([1, 2, 3])).tolist() == [0, 0, -1]
    assert SOURCE.leading(Histories.nobody(0), 0, np.array([1])).tolist() == [-1]


def test_settings_that_are_not_these_are_refused():
    settings, arrays = SOURCE.to_parts()
    for wrong in ({}, settings | {"steps": 3}, settings | {"more": 1}):
        with pytest.raises(ArtefactError, match="name and steps"):
            TransitionSource.from_parts(wrong, arrays)
