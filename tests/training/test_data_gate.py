import dataclasses

import numpy as np
import pytest

from features.errors import NotEnoughDataError
from tests.churn_worlds import NAMES, labelled
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.data_gate import check_data

SETTINGS = ChurnSettings(full_model_each_outcome=50, min_rows=40, min_each_outcome=10)
DAYS = {"silence": (30, 60, 90), "cycle": (30, 60, 90), "cancel": (30, 60, 90), "label": (90,)}


def rows(n_churned, n_stayed, cutoffs=1):
    """The same customers at each cut-off, with the same outcomes."""
    labels = np.tile(np.repeat([True, False], [n_churned, n_stayed]), cutoffs)
    n = n_churned + n_stayed
    customers = np.tile(np.arange(n), cutoffs)
    return labelled(np.zeros((labels.size, len(NAMES))), labels, customers, np.repeat(np.arange(cutoffs), n))


def about(kind):
    problem = ChurnProblem(kind=kind, horizons_days=DAYS[kind], label_column="Churn" if kind == "label" else "")
    return dataclasses.replace(SETTINGS, problem=problem)


def test_customers_are_counted_once_however_many_rows_they_have():
    gate = check_data(rows(30, 60, cutoffs=3), SETTINGS)
    assert (gate.n_customers, gate.n_churners, gate.n_stayers, gate.full) == (90, 30, 60, False)


def test_a_customer_who_churned_once_and_stayed_once_is_both():
    both = rows(50, 50, cutoffs=2)
    both = dataclasses.replace(both, labels=np.concatenate([both.labels[:100], ~both.labels[:100]]))
    gate = check_data(both, SETTINGS)
    assert (gate.n_customers, gate.n_churners, gate.n_stayers, gate.full) == (100, 100, 100, True)


def test_exactly_as_many_as_needed_is_enough():
    assert check_data(rows(50, 50), SETTINGS).full
    assert not check_data(rows(49, 51), SETTINGS).full


def test_enough_is_said_with_the_numbers():
    assert check_data(rows(1_200, 60), SETTINGS).sentence() == (
        "Enough to learn from: 1,200 churners and 60 stayers among 1,260 customers; 50 of each are needed."
    )


@pytest.mark.parametrize(
    ("kind", "n_churned", "advice"),
    [
        # no order for a shorter time is commoner, so shorter horizons make more churners and fewer stayers
        ("silence", 20, "20 churners, need 50; extend the history or shorten the horizon"),
        ("silence", 80, "20 stayers, need 50; extend the history or lengthen the horizon"),
        # a churn that is waited for is commoner the longer one waits
        ("cycle", 20, "20 churners, need 50; extend the history or lengthen the horizon"),
        ("cycle", 80, "20 stayers, need 50; extend the history or shorten the horizon"),
        ("cancel", 20, "20 churners, need 50; extend the history or lengthen the horizon"),
        ("label", 20, "20 churners, need 50; add customers of whom the label is known"),
    ],
)
def test_too_few_is_said_with_the_numbers_and_what_to_do(kind, n_churned, advice):
    gate = check_data(rows(n_churned, 100 - n_churned), about(kind))
    assert not gate.full
    assert gate.sentence().startswith(advice)
    rule = "a logistic model" if kind == "label" else "days since the last order"
    assert gate.sentence().endswith(f"Meanwhile a baseline answers: {rule} alone.")


def test_too_few_of_both_names_both():
    assert check_data(rows(20, 30), SETTINGS).sentence().startswith("20 churners, need 50; 30 stayers, need 50; ")


def test_too_few_even_for_a_baseline_are_refused_with_the_numbers():
    with pytest.raises(NotEnoughDataError, match=r"59 rows, 9 churned and 50 stayed; at least 40 rows and 10 of each"):
        check_data(rows(9, 50), SETTINGS)


@pytest.mark.parametrize(("n_churned", "n_stayed", "word"), [(60, 0, "churned"), (0, 60, "stayed")])
def test_a_single_class_label_is_refused_by_what_it_is(n_churned, n_stayed, word):
    with pytest.raises(NotEnoughDataError, match=f"one outcome only: all 60 rows {word}; .*no order in the 90 days"):
        check_data(rows(n_churned, n_stayed), SETTINGS)


def test_the_default_asks_for_500_of_each():
    assert ChurnSettings().full_model_each_outcome == 500
