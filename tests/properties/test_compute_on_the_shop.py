"""On a whole simulated shop, late events included: nobody differs alone or in the batch; the future is not seen."""

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.instants import DAY_US
from features.pseudonyms import Pseudonyms
from training.simulate import SimulationSettings, inside, simulate

pytestmark = pytest.mark.slow

SETTINGS = SimulationSettings(scale=0.15)


@pytest.fixture(scope="module")
def view():
    shop = simulate(SETTINGS, seed=2)
    return CustomerView.from_events(inside(shop, Pseudonyms("k0", bytes(32)).of_column)[0])


@pytest.mark.parametrize("days_back", [0, 100])
def test_no_customer_differs_from_the_batch(view, days_back):
    as_of = SETTINGS.end_us - days_back * DAY_US
    table = compute(view, CHURN_FEATURES, as_of)
    different = sum(
        not np.array_equal(compute(view.select([row]), CHURN_FEATURES, as_of).values[0], values, equal_nan=True)
        for row, values in enumerate(table.values)
    )
    assert (different, view.n_customers > 2_900) == (0, True)


def test_events_from_as_of_on_and_events_still_unrecorded_change_nothing(view):
    as_of = SETTINGS.end_us - 200 * DAY_US
    past = view.known_at(as_of)
    assert len(past) < len(view)
    assert view.hidden_at(as_of).size > 0, "the shop has no late event here, so the test would say nothing"
    whole = compute(view, CHURN_FEATURES, as_of).values
    assert np.array_equal(whole, compute(past, CHURN_FEATURES, as_of).values, equal_nan=True)
