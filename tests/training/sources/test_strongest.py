from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from training.sources.strongest import strongest, strongest_sparse

ROWS = np.array([[7, 1, -3, 2, 0], [2, 7, 2, -2, 2], [0, 0, 7, 0, 0], [0, 0, -1, 7, 0], [1, 2, 3, 4, 5]], np.float32)


def cut_dense(limit):
    return strongest((ROWS[at : at + 2].copy() for at in (0, 2, 4)), limit)


def cut_sparse(limit):
    return strongest_sparse((csr_matrix(ROWS[at : at + 2]) for at in (0, 2, 4)), limit)


@pytest.mark.parametrize("cut", [cut_dense, cut_sparse])
def test_the_largest_of_either_sign_are_kept_without_the_diagonal_and_of_equals_the_first(cut):
    found = cut(2)
    assert found.offsets.tolist() == [0, 2, 4, 4, 5, 7]
    assert found.items.tolist() == [2, 3, 0, 2, 2, 2, 3]
    assert found.weights.tolist() == [-3, 2, 2, 2, -1, 3, 4]


@pytest.mark.parametrize("cut", [cut_dense, cut_sparse])
def test_a_limit_beyond_the_row_keeps_all_that_is_not_zero(cut):
    assert np.diff(cut(9).offsets).tolist() == [3, 4, 0, 1, 4]
