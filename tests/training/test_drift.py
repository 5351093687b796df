import numpy as np
import pytest

from features.errors import ArtefactError, DataError
from serving.evidence.score_shift import MOVED_MUCH
from training.drift import DriftReference, drift_reference, input_drift, score_drift

NAMES = ("spend", "orders", "plan")


HALVES = np.array([0.25, 0.75])


def bin_inputs(values, names, fingerprint, scores=HALVES, **chosen):
    return drift_reference(values, scores, names, fingerprint, **chosen)


def rows(rng, n, shift=0.0):
    spend = rng.normal(shift, 1.0, n)
    spend[rng.random(n) < 0.1] = np.nan
    return np.column_stack([spend, rng.poisson(2.0, n), rng.integers(0, 12, n)]).astype(np.float64)


def test_chance_alone_stays_below_its_limit_in_99_of_100_cases():
    rng = np.random.default_rng(1)
    reference = bin_inputs(rows(rng, 5_000), NAMES, "f")
    over = [drift.psi > drift.by_chance for _ in range(200) for drift in input_drift(reference, rows(rng, 400))]
    assert np.mean(over) == pytest.approx(0.01, abs=0.015)  # 600 draws: four deviations are .016


def test_the_feature_that_moved_is_named_first_and_the_others_are_steady():
    rng = np.random.default_rng(2)
    reference = bin_inputs(rows(rng, 5_000), NAMES, "f")
    found = input_drift(reference, rows(rng, 3_000, shift=0.6))
    # two normal laws of one width, .6 apart: the divergence J is .36, tenths of one see most of it, of nine in ten rows
    assert found[0].name == "spend"
    assert found[0].psi == pytest.approx(0.9 * 0.36, abs=0.06)
    assert found[0].level == "moved much"
    assert {drift.level for drift in found[1:]} == {"steady"}


def test_missing_is_a_bin_of_its_own():
    values = np.array([[1.0], [2.0], [np.nan], [3.0]])
    reference = bin_inputs(values, ("spend",), "f")
    np.testing.assert_array_equal(reference.bins[0].counts, [1, 1, 1, 0, 1])
    (drift,) = input_drift(reference, np.full((50, 1), np.nan))
    assert (drift.missing_before, drift.missing_now) == (0.25, 1.0)
    assert drift.psi > MOVED_MUCH


def test_a_category_has_a_bin_a_value_and_a_tenth_is_a_tenth():
    rng = np.random.default_rng(3)
    values = rows(rng, 10_000)
    reference = bin_inputs(values, NAMES, "f", categories=("plan",))
    assert reference.bins[2].edges.tolist() == list(range(12))
    tenths = reference.bins[0].counts[:-2] / np.count_nonzero(~np.isnan(values[:, 0]))
    np.testing.assert_allclose(tenths, 0.1, atol=0.001)


def test_a_value_never_seen_falls_into_the_open_bin():
    reference = bin_inputs(np.array([[0.0], [1.0]]), ("plan",), "f")
    np.testing.assert_array_equal(reference.bins[0].count(np.array([7.0, -1.0])), [1, 0, 1, 0])


def test_a_column_without_any_value_is_steady_while_it_stays_so():
    reference = bin_inputs(np.full((100, 1), np.nan), ("nps",), "f")
    assert input_drift(reference, np.full((100, 1), np.nan))[0].psi == 0.0
    assert input_drift(reference, np.ones((100, 1)))[0].level == "moved much"


def test_the_score_drifts_when_its_law_does():
    rng = np.random.default_rng(4)
    reference = bin_inputs(np.ones((1, 1)), ("a",), "f", rng.beta(2, 3, 20_000))
    same, moved = (score_drift(reference, rng.beta(a, 3, 5_000)) for a in (2, 3))
    assert same.psi < same.by_chance < 0.01
    assert (same.level, moved.level) == ("steady", "moved much")


def test_the_reference_is_written_and_read_again():
    reference = bin_inputs(rows(np.random.default_rng(5), 500), NAMES, "f")
    again = DriftReference.from_json(reference.to_json())
    assert again.to_json() == reference.to_json()
    assert again.feature_names == NAMES
    assert again.digest == reference.digest
    np.testing.assert_array_equal(again.scores.counts, [1, 1, 0, 0])
    for before, after in zip(reference.bins, again.bins, strict=True):
        np.testing.assert_array_equal(before.edges, after.edges)
        np.testing.assert_array_equal(before.counts, after.counts)


@pytest.mark.parametrize(
    "bins",
    [
        '[{"edges": [1, 2], "counts": [1, 2]}]',
        '[{"edges": [2, 1], "counts": [1, 2, 3, 4]}]',
        '[{"edges": [1], "counts": [0, 0, 0]}]',
        '[{"edges": [1], "counts": [-1, 2, 2]}]',
        "[3]",
        "[]",
    ],
)
def test_an_altered_reference_is_refused(bins):
    with pytest.raises(ArtefactError, match=r"drift\.json"):
        DriftReference.from_json(
            f'{{"feature_names": ["a"], "fingerprint": "f", "bins": {bins}, "scores": {{}}}}'.encode()
        )


def test_another_number_of_columns_is_refused():
    reference = bin_inputs(np.ones((10, 1)), ("a",), "f")
    with pytest.raises(DataError, match="1 features"):
        input_drift(reference, np.ones((10, 2)))
    with pytest.raises(DataError, match="rows of 2 features"):
        bin_inputs(np.ones((10, 1)), ("a", "b"), "f")
