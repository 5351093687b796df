from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import serving.sources.sparse_rows as module
from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.neighbours import ItemNeighbours, NeighbourSource
from serving.sources.source import Excluded

S = np.array([[0, 2, 0, 1], [3, 0, 0, 0], [0, 0, 0, 5], [0, 0, -1, 0]], np.float32)
SOURCE = NeighbourSource(ItemNeighbours.of_matrix(csr_matrix(S)), "rule")
LISTS = Histories.of_lists([[0, 2], [3], [], [1, 0]], 4)
EVERYWHERE = np.tile(np.arange(4), (4, 1))


def test_the_score_of_an_item_is_the_sum_over_the_history():
    nan = np.nan
    # {0, 2}: item 1 gets 2 of 0; item 3 gets 1 of 0 and 5 of 2. {0, 1}: item 0 gets 3 of 1, item 1 gets 2 of 0
    expected = [[nan, 2, nan, 6], [nan, nan, -1, nan], [nan] * 4, [3, 2, nan, 1]]
    assert SOURCE.scores(LISTS, EVERYWHERE).tolist() == pytest.approx(np.array(expected), nan_ok=True)


def test_an_item_counts_as_much_as_its_weight_and_a_refusal_against_its_neighbours():
    places, sums = SOURCE.neighbours.summed(np.array([0, 2]), np.array([0.5, -1.0]))
    assert (places.tolist(), sums.tolist()) == ([1, 3], [1.0, 0.5 - 5.0])


def test_the_best_neighbours_come_first_and_what_is_left_out_moves_nothing():
    found = SOURCE.propose(LISTS, 3)
    assert found.places.tolist() == [[3, 1, -1], [2, -1, -1], [-1, -1, -1], [0, 1, 3]]
    assert found.best.tolist() == [3, 2, -1, 0]
    own = Excluded(LISTS.offsets, LISTS.items)
    found = SOURCE.propose(LISTS, 2, np.array([True, True, True, False]), own)
    assert found.places.tolist() == [[1, -1], [2, -1], [-1, -1], [-1, -1]]
    assert found.best.tolist() == [3, 2, -1, 0]


def test_equal_scores_are_ordered_by_place():
    level = NeighbourSource(ItemNeighbours.of_matrix(csr_matrix(np.ones((4, 4)))), "level")
    assert level.propose(LISTS, 2).places[1].tolist() == [0, 1]


def test_a_large_catalogue_gives_the_very_same_sums(monkeypatch):
    rng = np.random.default_rng(5)
    dense = rng.normal(size=(60, 60)) * (rng.random((60, 60)) < 0.3)
    source = NeighbourSource(ItemNeighbours.of_matrix(csr_matrix(dense)), "rule")
    histories = Histories.of_lists([rng.integers(0, 60, 7).tolist() for _ in range(9)], 60)
    places = np.tile(np.arange(60), (9, 1))
    small = source.scores(histories, places)
    monkeypatch.setattr(module, "_DENSE_ITEMS", 10)
    again = histories.part(0, 9)  # of which nothing is worked out yet
    assert source.scores(again, places).tobytes() == small.tobytes()
    expected = histories.matrix(60).toarray() @ dense.astype(np.float32)
    np.testing.assert_allclose(np.nan_to_num(small), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("offsets", [0, 2, 3, 4]),
        ("offsets", [0, 3, 2, 4, 5]),
        ("items", [1, 3, 0, 3, 4]),
        ("items", [3, 1, 0, 3, 2]),
        ("weights", [2.0, 1.0, 3.0, 5.0]),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(name, values):
    settings, arrays = SOURCE.to_parts()
    broken = {**arrays, name: np.array(values, arrays[name].dtype)}
    with pytest.raises(ArtefactError):
        NeighbourSource.from_parts(settings, broken)
    with pytest.raises(ArtefactError, match="name"):
        NeighbourSource.from_parts({}, arrays)


def test_the_item_of_the_history_that_adds_most_leads():
    # item 0 leads to 2 with 1 and item 1 with 3; to 3 only item 0 leads, against it
    matrix = csr_matrix(np.array([[0, 0, 1, -1], [0, 0, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32))
    source = NeighbourSource(ItemNeighbours.of_matrix(matrix), "ease")
    both = Histories.of_lists([[0, 1], []], 4)
    assert source.leading(both, 0, np.array([2, 3, 1])).tolist() == [1, -1, -1]
    assert source.leading(both, 1, np.array([2])).tolist() == [-1]
