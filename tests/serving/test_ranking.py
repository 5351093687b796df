from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigurationError
from serving.ranking import BlendWeights, blend, normalise, top_k

NAN = float("nan")


def test_blend_by_hand():
    # .6 * (1, .5, 0) + .4 * (0, 1, .25); the last item is proposed by the second source alone
    blended = blend([np.array([[4.0, 2.0, NAN]]), np.array([[NAN, 8.0, 2.0]])], [np.array([0.6]), np.array([0.4])])
    assert blended.total[0] == pytest.approx([0.6, 0.7, 0.1])
    assert blended.proposed.tolist() == [[True, True, True]]


def test_an_item_that_only_a_source_without_weight_proposes_is_not_proposed():
    blended = blend([np.array([[1.0, NAN]]), np.array([[NAN, 1.0]])], [np.array([1.0]), np.array([0.0])])
    assert blended.proposed.tolist() == [[True, False]]


def test_a_row_without_proposals_is_zero():
    assert normalise(np.array([[NAN, NAN]])).tolist() == [[0.0, 0.0]]


VALUES = st.lists(st.sampled_from([NAN, 0.0, 0.5, 0.25, -1.0]), min_size=1, max_size=12)


@given(values=VALUES, k=st.integers(1, 15))
def test_top_k_is_the_head_of_a_stable_sort(values, k):
    expected = sorted((p for p, value in enumerate(values) if value == value), key=lambda p: -values[p])[:k]
    assert top_k(np.array([values]), k)[0].tolist() == expected + [-1] * (k - len(expected))


@pytest.mark.parametrize("weights", [(-0.1, 0.5, 0.6), (0, 0, 0), (NAN, 1, 0)])
def test_impossible_blend_weights_are_refused(weights):
    with pytest.raises(ConfigurationError, match="blend"):
        BlendWeights(*weights)
