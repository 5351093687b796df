from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from features.errors import ArtefactError
from serving.sources.content import ContentSource
from serving.sources.histories import Histories

# items by terms: (1, 0), (.6, .8), (0, 1), nothing
SOURCE = ContentSource(
    np.array([0, 1, 3, 4, 4]), np.array([0, 0, 1, 1], np.int32), np.array([1, 0.6, 0.8, 1], np.float32)
)
EVERY = np.tile(np.arange(4), (3, 1))


def test_the_score_is_the_sum_of_cosines():
    found = SOURCE.scores(Histories.of_lists([[0], [0, 2], [3]], 4), EVERY)
    nan = np.nan
    np.testing.assert_allclose(found, [[1, 0.6, nan, nan], [1, 1.4, 1, nan], [nan] * 4], rtol=1e-6)


def test_weights_count_and_a_refusal_counts_against():
    histories = dataclasses.replace(Histories.of_lists([[0, 2]], 4), weights=np.array([2.0, -1.0]))
    np.testing.assert_allclose(SOURCE.scores(histories, EVERY[:1])[0, :3], [2, 2 * 0.6 - 0.8, -1], rtol=1e-6)


def test_the_item_that_is_most_alike_is_named():
    histories = Histories.of_lists([[0, 2]], 4)
    assert SOURCE.leading(histories, 0, np.array([1, 0, 3])).tolist() == [2, 0, -1]
    assert SOURCE.leading(Histories.nobody(0), 0, np.array([1])).tolist() == [-1]


def test_files_that_do_not_go_together_are_refused():
    settings, arrays = SOURCE.to_parts()
    with pytest.raises(ArtefactError, match="offsets"):
        ContentSource.from_parts(settings, arrays | {"offsets": np.array([0, 1, 3])})
    with pytest.raises(ArtefactError, match="name"):
        ContentSource.from_parts({}, arrays)
