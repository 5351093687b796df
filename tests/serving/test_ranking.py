from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigurationError
from serving.ranking import Asked, Candidates, blend, check_weights, gather, normalise, rank, top_k
from serving.sources.histories import Histories
from serving.sources.popularity import PopularitySource

NAN = float("nan")


def candidates(*scores, best):
    parts = tuple(np.array([one], np.float32) for one in scores)
    tops = tuple(np.array([one], np.float32) for one in best)
    return Candidates(np.arange(parts[0].shape[1])[None], parts, tops)


def test_blend_by_hand():
    # .6 * (1, .5, 0) + .4 * (0, 1, .25); the last item is known to the second source alone
    found = candidates([4.0, 2.0, NAN], [NAN, 8.0, 2.0], best=[4.0, 8.0])
    blended = blend(found, [np.array([0.6]), np.array([0.4])])
    assert blended.total[0] == pytest.approx([0.6, 0.7, 0.1])
    assert blended.proposed.tolist() == [[True, True, True]]


def test_the_scale_is_of_the_whole_catalogue_so_that_a_filter_moves_nothing():
    # the best item (8) was filtered: the others keep their shares 4/8 and 2/8
    assert normalise(np.array([[4.0, 2.0]]), np.array([8.0])).tolist() == [[0.5, 0.25]]


def test_an_item_that_only_a_source_without_weight_knows_is_not_proposed():
    blended = blend(candidates([1.0, NAN], [NAN, 1.0], best=[1.0, 1.0]), [np.array([1.0]), np.array([0.0])])
    assert blended.proposed.tolist() == [[True, False]]


def test_a_row_of_which_nothing_is_known_is_zero():
    assert normalise(np.array([[NAN, NAN]]), np.array([NAN])).tolist() == [[0.0, 0.0]]


def test_sources_are_asked_together_and_each_candidate_is_judged_by_all():
    # the first proposes items 0 and 1, the second 3 and 2: four candidates, in the order of the catalogue
    first = PopularitySource(np.array([4, 3, 2, 1], np.float32))
    second = PopularitySource(np.array([1, 2, 3, 4], np.float32), name="other")
    found = gather([first, second], Histories.nobody(0), 2)
    assert found.places.tolist() == [[0, 1, 2, 3]]
    assert [one.tolist() for one in found.scores] == [[[4, 3, 2, 1]], [[1, 2, 3, 4]]]
    assert [one.tolist() for one in found.best] == [[4], [4]]
    assert gather([], Histories.nobody(0), 2).places.shape == (1, 0)


def test_the_main_source_is_never_one_without_weight():
    asked = Asked((PopularitySource(np.ones(1, np.float32)),) * 2, (np.array([0.5]), np.array([0.0])))
    found = rank(candidates([-1.0], [1.0], best=[1.0, 1.0]), asked, 2)
    assert (found.places.tolist(), found.source[0, 0], found.scores[0, 0]) == ([[0, -1]], 0, -0.5)
    assert rank(candidates([-1.0], [1.0], best=[1.0, 1.0]), asked, 1, liked=True).places.tolist() == [[-1]]


VALUES = st.lists(st.sampled_from([NAN, 0.0, 0.5, 0.25, -1.0]), min_size=1, max_size=12)


@given(values=VALUES, k=st.integers(1, 15))
def test_top_k_is_the_head_of_a_stable_sort(values, k):
    expected = sorted((p for p, value in enumerate(values) if value == value), key=lambda p: -values[p])[:k]
    assert top_k(np.array([values]), k)[0].tolist() == expected + [-1] * (k - len(expected))


@pytest.mark.parametrize("weights", [{"als": -0.1, "popularity": 0.5}, {"als": 0.0}, {}, {"als": NAN, "popularity": 1}])
def test_impossible_blend_weights_are_refused(weights):
    with pytest.raises(ConfigurationError, match="blend"):
        check_weights(weights, "recommender.blend")
