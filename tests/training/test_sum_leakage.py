"""The alarm for columns of which only a sum gives the label away."""

import numpy as np

from training.sum_leakage import find_sum_leak
from training.training_set import TrainingSet


def rows_of(values, labels, names):
    return TrainingSet.of_table(names, "f", values, labels.astype(np.int8), np.arange(len(labels)), 0)


def pages(n=2_000, seed=1, counted=True):
    """Pages seen are songs, adverts and, for who left, the page on which they cancelled; age has no part in it."""
    rng = np.random.default_rng(seed)
    songs, adverts, age = rng.poisson(300, n), rng.poisson(40, n), rng.normal(40, 9, n)
    labels = rng.random(n) < 0.25
    total = songs + adverts + (labels if counted else 0)
    return np.column_stack([songs, adverts, total, age]).astype(float), labels


NAMES = ("songs", "adverts", "pages", "age")


def test_total_less_its_parts_is_named_with_its_parts_alone():
    values, labels = pages()
    found = find_sum_leak(rows_of(values, labels, NAMES), 0, numbers=NAMES)
    assert found is not None
    assert set(found.columns) == {"songs", "adverts", "pages"}
    assert found.auc > 0.99


def test_total_that_counts_no_leaving_gives_no_alarm():
    values, labels = pages(counted=False)
    assert find_sum_leak(rows_of(values, labels, NAMES), 0, numbers=NAMES) is None


def test_one_customer_far_off_does_not_hide_the_sum():
    values, labels = pages()
    values[0] = (1e6, 1e6, 7e6, 1e6)
    found = find_sum_leak(rows_of(values, labels, NAMES), 0, numbers=NAMES)
    assert found is not None
    assert set(found.columns) == {"songs", "adverts", "pages"}


def test_missing_values_and_empty_columns_are_borne():
    values, labels = pages()
    values[::97, 3] = np.nan
    values = np.column_stack([values, np.full(len(labels), np.nan)])
    names = (*NAMES, "nothing")
    found = find_sum_leak(rows_of(values, labels, names), 0, numbers=names)
    assert found is not None
    assert set(found.columns) == {"songs", "adverts", "pages"}


def test_trusted_column_is_not_looked_at():
    values, labels = pages()
    assert find_sum_leak(rows_of(values, labels, NAMES), 0, numbers=NAMES, trusted=("pages",)) is None


def test_few_rows_of_an_outcome_tell_nothing():
    values, labels = pages(60)
    labels[:] = False
    labels[:20] = True
    assert find_sum_leak(rows_of(values, labels, NAMES), 0, numbers=NAMES) is None
