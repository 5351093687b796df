"""Every candidate source that is fitted in training.sources keeps the contract; a new one is found by itself."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing

import numpy as np
import pytest

import training.sources
from serving.recommender_files import pack, unpack
from serving.sources.histories import Histories
from serving.sources.kinds import SOURCE_KINDS
from serving.sources.source import Excluded

N_ITEMS = 24
COLOURS = 3


def _fits():
    for module in pkgutil.iter_modules(training.sources.__path__):
        loaded = importlib.import_module(f"training.sources.{module.name}")
        for name, found in inspect.getmembers(loaded, inspect.isfunction):
            if name.startswith("fit_") and found.__module__ == loaded.__name__:
                yield pytest.param(found, id=name)


def shoppers(n=40, seed=3):
    """Each buys baskets of one or two items, mostly of one of three colours (the item's number modulo 3)."""
    rng = np.random.default_rng(seed)
    baskets = []
    for customer in range(n):
        own = [item for item in range(N_ITEMS - 2) if item % COLOURS == customer % COLOURS]
        baskets.append([rng.choice(own, rng.integers(1, 3), replace=False).tolist() for _ in range(rng.integers(1, 6))])
    return Histories.of_baskets([*baskets, []], N_ITEMS)


HISTORIES = shoppers()
GIVEN = {
    "histories": HISTORIES,
    "n_items": N_ITEMS,
    "category": np.arange(N_ITEMS, dtype=np.int32) % COLOURS,
    "tokens": [[("red", "green", "blue")[item % COLOURS], f"word{item % 5}"] for item in range(N_ITEMS)],
}
_SOURCES = {}


def fitted(fit):
    if fit not in _SOURCES:
        hints = typing.get_type_hints(fit)
        given = {name: GIVEN[name] if name in GIVEN else hints[name]() for name in inspect.signature(fit).parameters}
        _SOURCES[fit] = fit(**given)
    return _SOURCES[fit]


@pytest.fixture(params=_fits())
def source(request):
    return fitted(request.param)


EVERYWHERE = np.tile(np.arange(N_ITEMS), (HISTORIES.n_customers, 1))


def test_a_source_is_of_a_kind_that_a_release_can_hold(source):
    assert SOURCE_KINDS[source.kind] is type(source)
    assert source.n_items == N_ITEMS


def test_proposals_are_distinct_ordered_and_as_scored(source):
    scores = source.scores(HISTORIES, EVERYWHERE)
    assert (scores.dtype, scores.shape) == (np.float32, EVERYWHERE.shape)
    assert not np.isinf(scores).any()
    found = source.propose(HISTORIES, 10)
    assert found.places.shape == found.scores.shape == (HISTORIES.n_customers, 10)
    for row, (places, proposed) in enumerate(zip(found.places, found.scores, strict=True)):
        shown = places[places >= 0]
        assert (places[len(shown) :] == -1).all()
        assert np.isnan(proposed[len(shown) :]).all()
        assert len(set(shown.tolist())) == len(shown)
        assert np.all(np.diff(proposed[: len(shown)]) <= 0)
        np.testing.assert_allclose(proposed[: len(shown)], scores[row, shown], rtol=1e-4, atol=1e-6)
        known = np.flatnonzero(~np.isnan(scores[row]))
        assert len(shown) == min(10, len(known)) or source.kind == "index"
        if len(known):
            assert scores[row, found.best[row]] == pytest.approx(np.nanmax(scores[row]), rel=1e-4)
        else:
            assert found.best[row] == -1


def test_only_what_is_allowed_and_not_excluded_is_proposed_and_the_best_stays_the_best(source):
    rng = np.random.default_rng(1)
    allowed = rng.random(N_ITEMS) < 0.6
    excluded = Excluded(HISTORIES.bought_offsets, HISTORIES.bought.items)
    found = source.propose(HISTORIES, N_ITEMS, allowed, excluded)
    scores = source.scores(HISTORIES, EVERYWHERE)
    for row in range(HISTORIES.n_customers):
        open_items = set(np.flatnonzero(allowed & ~np.isnan(scores[row])).tolist()) - set(excluded.of(row).tolist())
        assert set(found.places[row][found.places[row] >= 0].tolist()) == open_items
    assert found.best.tolist() == source.propose(HISTORIES, 1).best.tolist()


def test_a_customer_alone_gets_what_the_same_customer_gets_among_others(source):
    scores = source.scores(HISTORIES, EVERYWHERE)
    for row in range(0, HISTORIES.n_customers, 5):
        alone = HISTORIES.part(row, row + 1)
        assert source.scores(alone, EVERYWHERE[:1]).tobytes() == scores[row].tobytes()


def test_no_place_has_no_score_and_nobody_is_no_error(source):
    nobody = Histories.nobody(0)
    assert source.propose(nobody, 5).places.shape == (1, 5)
    assert np.isnan(source.scores(nobody, np.full((1, 3), -1))).all()
    assert np.isnan(source.scores(HISTORIES, np.full((HISTORIES.n_customers, 2), -1))).all()


def test_a_source_comes_back_from_its_files_with_the_same_scores(source):
    files = pack({}, [source])
    (again,) = unpack(files, N_ITEMS).sources
    assert again.name == source.name
    assert again.scores(HISTORIES, EVERYWHERE).tobytes() == source.scores(HISTORIES, EVERYWHERE).tobytes()
    assert pack({}, [again]) == files
