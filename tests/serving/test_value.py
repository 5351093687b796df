import math

import numpy as np
import pytest

from features.errors import ArtefactError
from serving.calibration import BetaCalibrator
from serving.conditional_quantity import ConditionalQuantity, Location
from serving.linear_part import LinearPart
from serving.season import SeasonShift
from serving.trees import Trees
from serving.value import Value
from tests.boosted import NAMES, boosted

LEVELS = (0.1, 0.5, 0.9)
SAME = BetaCalibrator(1.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def trees():
    return Trees(NAMES, boosted("regression")[0].model_to_string(), "regression")


@pytest.fixture(scope="module")
def window(trees):
    """The logarithm of the amount lies from ln 100 below its location to ln 100 above."""
    amount = ConditionalQuantity(
        Location(LinearPart(3, 0.2, ()), trees, 0.5), np.array([]), math.log(100) * np.linspace(-1, 1, 101)[None, :]
    )
    return Value(90, amount, SAME)


@pytest.fixture(scope="module")
def row():
    return boosted("regression")[1][:1]


def expected(window, row, level):
    """The amount at a level of those who order at all."""
    return math.exp(window.amount.locations(row)[0] + math.log(100) * (2 * level - 1))


def test_quantiles_lie_above_the_point_mass_at_nothing(window, row):
    # half order nothing: p10 and p50 are 0, p90 is the (.9 - .5) / .5 = .8 quantile of an amount
    found = window.forecast(row, np.array([0.0]), LEVELS)
    assert found.none_probability.tolist() == [0.5]
    assert found.quantiles_minor[0].tolist() == pytest.approx([0.0, 0.0, expected(window, row, 0.8)])


def test_quantiles_of_who_surely_orders_are_those_of_the_amount(window, row):
    found = window.forecast(row, np.array([-800.0]), LEVELS)
    assert found.none_probability.tolist() == [0.0]
    assert found.quantiles_minor[0].tolist() == pytest.approx([expected(window, row, level) for level in LEVELS])
    assert found.mean_minor.tolist() == found.mean_if_any_minor.tolist()


def test_who_surely_orders_nothing_is_worth_nothing(window, row):
    found = window.forecast(row, np.array([800.0]), LEVELS)
    assert found.quantiles_minor[0].tolist() == [0.0, 0.0, 0.0]
    assert found.mean_minor.tolist() == [0.0]
    assert found.mean_if_any_minor[0] > 0


def test_the_mean_weighs_the_amount_by_the_chance_of_any(window, row):
    found = window.forecast(row, np.array([math.log(3)]), LEVELS)  # three of four order nothing
    assert found.mean_minor[0] == pytest.approx(found.mean_if_any_minor[0] / 4)


def test_the_season_moves_amounts_and_not_the_chance_of_any(window, row):
    moved = Value(90, window.amount, SAME, SeasonShift((0.5, 0.0, 0.0, 0.0), 0))
    plain, later = (moved.forecast(row, np.array([-1.0]), LEVELS, at) for at in (0, round(182.625 * 86_400 * 1e6)))
    # cosine goes from 1 to -1: amounts by e^-1
    np.testing.assert_allclose(later.quantiles_minor, plain.quantiles_minor / math.e)
    np.testing.assert_allclose(later.mean_minor, plain.mean_minor / math.e)
    assert later.none_probability.tolist() == plain.none_probability.tolist()


def test_only_a_whole_year_knows_no_season(window):
    assert window.takes_season
    assert not Value(365, window.amount, SAME).takes_season


def test_the_manifest_gives_it_back(window, trees):
    again = Value.from_manifest(window.to_manifest(), trees)
    assert (again.days, again.none, again.season) == (90, SAME, None)


@pytest.mark.parametrize(
    ("changes", "said"), [({"days": 0}, "days"), ({"none": None}, "kind beta"), ({"amount": None}, "edges")]
)
def test_a_malformed_manifest_is_refused(window, trees, changes, said):
    with pytest.raises(ArtefactError, match=said):
        Value.from_manifest(window.to_manifest() | changes, trees)
    with pytest.raises(ArtefactError, match="JSON object"):
        Value.from_manifest(None, trees)
