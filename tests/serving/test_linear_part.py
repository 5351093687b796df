import json

import numpy as np
import pytest

from features.errors import ArtefactError
from serving.linear_part import Basis, LinearPart

NAN = float("nan")
# feature 0 a number, 1 a number that may be missing, 2 a category of codes 0 and 2
PART = LinearPart(
    3,
    0.25,
    (
        Basis(0, "log", 2.0, centre=1.0, scale=0.5, clip=3.0),
        Basis(1, "log", -1.0, centre=0.0, scale=1.0, clip=5.0),
        Basis(1, "missing", 0.7),
        Basis(2, "category", 0.3, code=0),
        Basis(2, "category", -0.4, code=2),
        Basis(2, "missing", 0.9),
    ),
)


def contributions(*row):
    return PART.contributions(np.array([row], dtype=np.float64))[0].tolist()


def test_a_number_adds_its_standardised_log():
    # ln(1 + (e^1.25 - 1)) = 1.25; (1.25 - 1) / .5 = .5; times 2 is 1
    assert contributions(np.exp(1.25) - 1, 0.0, 1.0) == pytest.approx([1.0, 0.0, 0.0, 0.25])


def test_the_log_keeps_the_sign():
    # sign(-(e - 1)) ln(e) = -1, times -1 is 1
    assert contributions(np.e - 1, 1 - np.e, 1.0)[1] == pytest.approx(1.0)


def test_far_values_are_clipped_on_both_sides():
    # 3 deviations at most, times 2
    assert [contributions(x, 0.0, 1.0)[0] for x in (1e9, -1e9)] == pytest.approx([6.0, -6.0])


def test_missing_adds_its_own_coefficient_and_is_else_the_mean():
    assert contributions(NAN, NAN, NAN) == pytest.approx([0.0, 0.7, 0.9, 0.25])


@pytest.mark.parametrize(("code", "added"), [(0.0, 0.3), (1.0, 0.0), (2.0, -0.4), (3.0, 0.0), (99.0, 0.0), (-1.0, 0.0)])
def test_a_category_adds_its_coefficient_and_an_unknown_one_nothing(code, added):
    assert contributions(0.0, 0.0, code)[2] == added


def made(n):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, 3)) * 10
    values[:, 2] = rng.integers(0, 4, n)
    values[rng.random(values.shape) < 0.2] = NAN
    return values


def test_contributions_sum_to_the_margin():
    values = made(5_000)
    np.testing.assert_allclose(PART.contributions(values).sum(axis=1), PART.margins(values), atol=1e-12)


def test_one_row_equals_the_batch_bit_for_bit():
    values = made(5_000)
    batch = PART.margins(values)
    assert [float(PART.margins(values[row : row + 1])[0]) for row in range(0, 5_000, 7)] == batch[::7].tolist()


def test_it_leaves_the_values_as_they_were():
    values = made(50)
    before = values.copy()
    PART.margins(values)
    np.testing.assert_array_equal(values, before)


def test_the_manifest_gives_it_back():
    manifest = json.loads(json.dumps(PART.to_manifest()))
    again = LinearPart.from_manifest(manifest, 3)
    assert (again.bases, again.intercept) == (PART.bases, PART.intercept)


def test_a_part_without_bases_is_its_intercept():
    assert LinearPart(2, -1.5, ()).margins(np.array([[1.0, NAN], [NAN, 7.0]])).tolist() == [-1.5, -1.5]


def test_scaled_weighs_and_shifts_the_margin():
    values = made(100)
    np.testing.assert_allclose(PART.scaled(0.4, -1.0).margins(values), 0.4 * PART.margins(values) - 1.0, atol=1e-12)
    assert PART.scaled(0.0, 0.7).bases == ()
    assert PART.scaled(0.0, 0.7).margins(values[:2]).tolist() == [0.7, 0.7]


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        ({"feature": 3}, "feature"),
        ({"feature": True}, "feature"),
        ({"kind": "spline"}, "unknown kind"),
        ({"coefficient": None}, "coefficient"),
        ({"coefficient": float("inf")}, "coefficient"),
        ({"scale": 0.0}, "scale"),
        ({"clip": -1.0}, "clip"),
        ({"kind": "category"}, "code"),
        ({"kind": "category", "code": 10_000}, "code"),
    ],
)
def test_a_malformed_basis_is_refused(basis, said):
    sound = {"feature": 0, "kind": "log", "coefficient": 1.0, "centre": 0.0, "scale": 1.0, "clip": 5.0}
    with pytest.raises(ArtefactError, match=said):
        LinearPart.from_manifest({"intercept": 0.0, "bases": [sound | basis]}, 3)


@pytest.mark.parametrize("manifest", [None, {}, {"intercept": 1.0}, {"intercept": 1.0, "bases": [3]}, {"bases": []}])
def test_a_malformed_part_is_refused(manifest):
    with pytest.raises(ArtefactError, match="the linear part"):
        LinearPart.from_manifest(manifest, 3)


def test_a_feature_cannot_stand_twice_nor_be_both_number_and_category():
    with pytest.raises(ArtefactError, match="twice"):
        LinearPart(1, 0.0, (Basis(0, "log", 1.0), Basis(0, "log", 2.0)))
    with pytest.raises(ArtefactError, match="number and for a category"):
        LinearPart(1, 0.0, (Basis(0, "log", 1.0), Basis(0, "category", 2.0)))
