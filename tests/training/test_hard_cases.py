"""Cases that a shop meets sooner or later, each with its clear answer. Those at the edges stand with the edges:

a column that tells the outcome: test_leakage, test_screening; an instant in the future: test_cli_models,
test_http_churn; a customer nobody knows: test_http_churn; a category never seen: test_labelled_table.
"""

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.instants import DAY_US
from tests.churn_worlds import known_law, orders
from tests.event_tables import event, event_table
from training.churn import fit_churn
from training.churn_evaluation import train_churn
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.cutoffs import split_in_time
from training.population import eligible
from training.training_set import label_cutoff

SETTINGS = ChurnSettings(problem=ChurnProblem(horizons_days=(30,), eligible_days=60), min_history_days=30)


def at(day):
    return round(day * DAY_US)


def regulars(days, last_order=None):
    """300 customers who order every ten days, each from another day on, until the log or their patience ends."""
    return {
        f"c{number:03}": [day for day in range(number % 10, days, 10) if last_order is None or day < last_order]
        for number in range(300)
    }


def test_where_everybody_stayed_the_single_class_is_named_with_what_counts_as_churn():
    with pytest.raises(NotEnoughDataError, match=r"one outcome only: all .* rows stayed; .*no order in the 30 days"):
        train_churn(orders(regulars(300)), CHURN_FEATURES, SETTINGS)


def test_where_everybody_left_the_single_class_is_named_too():
    history = regulars(300, last_order=120) | {"the last": [299]}  # one late order, so that the log goes on
    settings = ChurnSettings(
        problem=ChurnProblem(horizons_days=(30,), eligible_days=250), min_history_days=120, max_train_cutoffs=3
    )
    with pytest.raises(NotEnoughDataError, match=r"one outcome only: all .* rows churned"):
        train_churn(orders(history), CHURN_FEATURES, settings)


def test_a_label_window_not_yet_observed_is_refused_with_both_dates():
    view = orders({"a": [90], "b": [119]})
    with pytest.raises(NotEnoughDataError, match="ends at 1970-05-11T00:00:00Z, but the log ends at 1970-04-30"):
        label_cutoff(view, CHURN_FEATURES, at(100), SETTINGS, observed_until_us=at(119) + 1)


def test_a_cutoff_in_the_future_of_the_log_is_refused_with_the_latest_that_can_be_judged():
    with pytest.raises(NotEnoughDataError, match=r"no whole label window; the latest that has one is 1970-07-20"):
        split_in_time(0, at(230), SETTINGS, test_us=at(400))  # day 200 is 20 July


def test_a_log_shorter_than_one_label_window_is_refused_with_the_days():
    with pytest.raises(NotEnoughDataError, match=r"the log covers 20 days.* one cut-off needs 60"):
        train_churn(orders({"a": [0, 20]}), CHURN_FEATURES, SETTINGS)


def test_a_customer_without_an_order_is_not_asked_about():
    looked = event_table(event("looks", "view", at(95)), event("buys", "purchase", at(95)))
    view = CustomerView.from_events(looked)
    assert dict(zip(view.customer_keys, eligible(view, at(100), SETTINGS), strict=True)) == {
        "buys": True,
        "looks": False,
    }


def test_a_customer_without_any_history_has_missing_values_and_a_defined_probability():
    before = compute(orders({"new": [95]}), CHURN_FEATURES, at(50))  # nothing of them is known then
    assert np.isnan(before.column("orders_recency_days")).all()
    assert before.column("orders_count_all").tolist() == [0.0]
    rng = np.random.default_rng(1)
    model = fit_churn(known_law(rng, 1_000), known_law(rng, 500, (90,)), ChurnSettings())
    said = model.probabilities(before.values)
    assert np.isfinite(said).all()
    assert ((said > 0) & (said < 1)).all()
    assert model.contributions(before.values).sum() == pytest.approx(model.margins(before.values)[0], abs=1e-6)
