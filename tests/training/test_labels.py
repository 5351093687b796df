import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import NotEnoughDataError
from features.instants import DAY_US
from tests.churn_worlds import RECENCY, orders
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.labels import churned
from training.population import eligible
from training.training_set import build_training_set

SETTINGS = ChurnSettings(
    problem=ChurnProblem(horizons_days=(10, 20, 30), gap_days=5, eligible_days=60), min_history_days=10
)
END = 200 * DAY_US


def at(day):
    return round(day * DAY_US)


def test_an_order_counts_from_the_gaps_end_to_the_windows_end():
    # as_of 100, so the window is [105, 135)
    view = orders({"before": [104.99], "first": [105], "last": [134.99], "end": [135], "gap": [100]})
    found = dict(zip(view.customer_keys, churned(view, at(100), SETTINGS, observed_until_us=END), strict=True))
    assert found == {"before": True, "first": False, "last": False, "end": True, "gap": True}


def test_an_order_recorded_too_late_for_a_fit_labels_nobody_there():
    # both order at 120, inside [105, 135); a's order is recorded 20 days later, at 140
    late, prompt = orders({"a": [50, 120]}, recorded_after=20), orders({"a": [50, 120]})
    for view, known, expected in ((late, 140, True), (late, 141, False), (prompt, 140, False)):
        found = churned(view, at(100), SETTINGS, observed_until_us=END, known_us=at(known))
        assert found.tolist() == [expected]
    assert churned(late, at(100), SETTINGS, observed_until_us=END).tolist() == [False]


def test_a_label_window_is_over_before_it_must_be_known():
    with pytest.raises(NotEnoughDataError, match="must be known"):
        churned(orders({"a": [1]}), at(100), SETTINGS, observed_until_us=END, known_us=at(135) - 1)


def test_an_unobserved_label_window_is_refused_with_its_dates():
    view = orders({"a": [1]})
    assert churned(view, at(100), SETTINGS, observed_until_us=at(135)).tolist() == [True]
    with pytest.raises(NotEnoughDataError, match=r"1970-05-16T00:00:00Z, but the log ends at 1970-05-15T23:59:59"):
        churned(view, at(100), SETTINGS, observed_until_us=at(135) - 1)


def test_eligible_is_who_ordered_in_the_window_before_as_of():
    view = orders({"early": [39.99], "start": [40], "late": [99.99], "as_of": [100]})
    found = dict(zip(view.customer_keys, eligible(view, at(100), SETTINGS), strict=True))
    assert found == {"early": False, "start": True, "late": True, "as_of": False}


def test_an_order_recorded_at_as_of_makes_nobody_eligible():
    assert eligible(orders({"a": [99]}, recorded_after=1), at(100), SETTINGS).tolist() == [False]
    assert eligible(orders({"a": [99]}, recorded_after=0.99), at(100), SETTINGS).tolist() == [True]


def test_rows_are_the_eligible_customers_of_each_cutoff():
    view = orders({"a": [50, 110], "b": [95], "c": [10]})
    found = build_training_set(view, CHURN_FEATURES, [at(100), at(120)], SETTINGS, observed_until_us=END)
    # at 100: a (50) and b (95) are eligible, [105, 135) holds a's order; at 120: a and b again, nobody orders
    assert found.customer_rows.tolist() == [0, 1, 0, 1]
    assert found.labels.tolist() == [False, True, True, True]
    assert found.values[:, RECENCY].tolist() == [50, 5, 10, 25]
    assert found.cutoffs == (at(100), at(120))
    assert found.base_rate == 0.75


def test_a_cutoff_with_nobody_eligible_is_refused():
    with pytest.raises(NotEnoughDataError, match="no customer ordered in the 60 days"):
        build_training_set(orders({"a": [1]}), CHURN_FEATURES, [at(100)], SETTINGS, observed_until_us=END)


def test_a_customer_is_never_on_both_sides_of_a_split():
    view = orders({f"c{i}": [90 + i / 10] for i in range(40)})
    rows = build_training_set(view, CHURN_FEATURES, [at(100), at(110)], SETTINGS, observed_until_us=END)
    kept, held_out = rows.split_customers(0.25, np.random.default_rng(1))
    assert set(kept.customer_rows).isdisjoint(held_out.customer_rows)
    assert (kept.n_rows, held_out.n_rows) == (60, 20)
