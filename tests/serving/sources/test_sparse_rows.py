from __future__ import annotations

import numpy as np

import serving.sources.sparse_rows as module
from serving.sources.source import Excluded, best_of
from serving.sources.sparse_rows import Reached, summed_cells

RNG = np.random.default_rng(7)
DENSE = np.where(RNG.random((6, 20)) < 0.5, RNG.integers(0, 5, (6, 20)), np.nan)  # many ties
DENSE[3] = np.nan


REACHED = Reached.of_rows(20, [(np.flatnonzero(~np.isnan(row)), row[~np.isnan(row)]) for row in DENSE])


def test_proposals_of_what_is_reached_are_those_of_the_dense_row():
    allowed = RNG.random(20) < 0.7
    excluded = Excluded(np.arange(0, 14, 2), np.arange(12))
    for limit in (1, 4, 30):
        found, expected = REACHED.propose(limit, allowed, excluded), best_of(DENSE, limit, allowed, excluded)
        np.testing.assert_array_equal(found.places, expected.places)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.best, expected.best)


def test_what_is_not_reached_has_no_score():
    everywhere = np.tile(np.arange(-1, 20), (6, 1))
    expected = np.concatenate([np.full((6, 1), np.nan), DENSE], axis=1)
    np.testing.assert_array_equal(REACHED.scores(everywhere), expected.astype(np.float32))


def test_a_large_catalogue_gives_the_very_same_sums(monkeypatch):
    reached, added = RNG.integers(0, 50, 400), RNG.normal(size=400)
    places, sums = summed_cells(reached, added, 50)
    monkeypatch.setattr(module, "_DENSE_ITEMS", 10)
    again, same = summed_cells(reached, added, 50)
    assert (places.tobytes(), sums.tobytes()) == (again.tobytes(), same.tobytes())
