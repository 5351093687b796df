import math

import numpy as np
import pytest

from features.errors import ArtefactError
from serving.conditional_quantity import ConditionalQuantity, Location
from serving.linear_part import LinearPart
from serving.trees import Trees
from tests.boosted import NAMES, boosted


@pytest.fixture(scope="module")
def trees():
    return Trees(NAMES, boosted("regression")[0].model_to_string(), "regression")


@pytest.fixture(scope="module")
def quantity(trees):
    """Below 1 residuals lie from -1 to 1, from 1 on they lie from 0 to 8; three levels: 0, .5 and 1."""
    return ConditionalQuantity(
        Location(LinearPart(3, 0.2, ()), trees, 0.5), np.array([1.0]), np.array([[-1.0, 0.0, 1.0], [0.0, 2.0, 8.0]])
    )


def test_a_quantile_is_the_location_and_the_residual_of_its_bin(quantity):
    found = quantity.quantiles(np.array([0.0, 1.0]), np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert found.tolist() == [[-1.0, -0.5, 0.0, 0.5, 1.0], [1.0, 2.0, 3.0, 6.0, 9.0]]


def test_levels_can_differ_from_row_to_row(quantity):
    found = quantity.quantiles(np.array([0.0, 1.0]), np.array([[0.25], [0.75]]))
    assert found.tolist() == [[-0.5], [6.0]]


def test_shares_below_are_the_inverse_of_quantiles(quantity):
    found = quantity.shares_below(np.array([0.0, 1.0]), np.array([-5.0, 0.5, 6.0, 99.0]))
    # row 0: -5 is below all, .5 is 3/4 of the way; row 1: .5 is below 1 + 0, 6 is residual 5, half from 2 to 8
    assert found.tolist() == [[0.0, 0.75, 1.0, 1.0], [0.0, 0.0, 0.75, 1.0]]


def test_the_mean_of_exponentials_is_the_mean_over_the_residuals(trees):
    level = ConditionalQuantity(Location(LinearPart(3, 0.2, ()), trees, 0.5), np.array([]), np.log([[1.0, 3.0, 3.0]]))
    # between levels the residual's exponential runs from 1 to 3, then stays: (2 + 3) / 2; times e^ln 10
    assert level.mean_exponentials(np.array([math.log(10.0)])) == pytest.approx([25.0])


def test_it_is_the_same_for_one_row_and_for_many(quantity):
    locations = np.random.default_rng(0).normal(1, 1, 500)
    levels, limits = np.array([0.1, 0.5, 0.9]), np.array([0.3, 1.7])
    for many, one in (
        (quantity.quantiles(locations, levels), lambda row: quantity.quantiles(row, levels)),
        (quantity.shares_below(locations, limits), lambda row: quantity.shares_below(row, limits)),
        (quantity.mean_exponentials(locations), quantity.mean_exponentials),
    ):
        assert [one(locations[row : row + 1])[0].tolist() for row in range(500)] == many.tolist()


def test_the_manifest_gives_it_back(quantity, trees):
    again = ConditionalQuantity.from_manifest(quantity.to_manifest(), trees, "the timing")
    assert again.edges.tolist() == quantity.edges.tolist()
    assert again.residuals.tolist() == quantity.residuals.tolist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"residuals": None}, "edges and residuals"),
        ({"residuals": []}, "as many residuals"),
        ({"residuals": [[0.0, 1.0], [0.0, 1.0, 2.0]]}, "as many residuals"),
        ({"residuals": [[0.0, None], [0.0, 1.0]]}, "missing number"),
        ({"residuals": [[1.0, 0.0], [0.0, 1.0]]}, "ascend"),
        ({"residuals": [[0.0, 1.0]]}, "each of its bins"),
        ({"residuals": [[0.0], [1.0]]}, "2 levels"),
        ({"edges": [1.0, 1.0], "residuals": [[0.0, 1.0]] * 3}, "ascend"),
        ({"edges": "x"}, "list of numbers edges"),
    ],
)
def test_a_malformed_manifest_is_refused(quantity, trees, changes, said):
    with pytest.raises(ArtefactError, match=said):
        ConditionalQuantity.from_manifest(quantity.to_manifest() | changes, trees, "the timing")
