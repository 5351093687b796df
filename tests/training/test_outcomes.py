"""What became of customers, on histories short enough to reckon by hand. as_of is day 100 throughout."""

import dataclasses

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.errors import ConfigurationError, DataError
from features.feature_set import FeatureSet
from features.instants import DAY_US
from tests.churn_worlds import orders
from tests.event_tables import event, event_table
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.labels import outcomes
from training.population import eligible
from training.training_set import TrainingSet, build_training_set, label_cutoff

END = 1_000 * DAY_US


def at(day):
    return round(day * DAY_US)


def asking(**problem):
    return ChurnSettings(problem=ChurnProblem(**problem))


def seen(view, settings, known_us=None, observed_until_us=END):
    found = outcomes(view, at(100), settings, observed_until_us=observed_until_us, known_us=known_us)
    return {
        key: (bool(gone), round(float(days), 6))
        for key, gone, days in zip(view.customer_keys, found.churned, found.event_days, strict=True)
    }


def history(*rows):
    """A view of (customer, kind, day, recorded day or None, fields)."""
    return CustomerView.from_events(
        event_table(
            *(
                event(who, kind, at(day), at(day if told is None else told), **more)
                for who, kind, day, told, more in rows
            )
        )
    )


def test_silence_waits_for_the_next_order_in_fractional_days():
    # gap 5, so days count from 105; the window is [105, 135)
    view = orders({"gap": [90, 104], "half": [90, 105.5], "never": [90], "past": [90, 135], "start": [90, 105]})
    assert seen(view, asking(horizons_days=(10, 30), gap_days=5)) == {
        "gap": (True, np.inf),
        "half": (False, 0.5),
        "never": (True, np.inf),
        "past": (True, np.inf),
        "start": (False, 0.0),
    }


def test_a_return_known_too_late_for_a_fit_did_not_come_there():
    view = orders({"a": [90, 110, 120]}, recorded_after=20)  # told on 110, 130, 140
    settings = asking(horizons_days=(30,))
    assert seen(view, settings, known_us=at(130)) == {"a": (True, np.inf)}
    assert seen(view, settings, known_us=at(130) + 1) == {"a": (False, 10.0)}
    assert seen(view, settings) == {"a": (False, 10.0)}


def test_cycle_waits_until_the_silence_exceeds_twice_the_own_cycle():
    view = orders(
        {
            "once": [95],  # cycle of a first order 20, so allowed 40 days: gone at 135, day 35
            "regular": [60, 70, 80, 90, 100.5, 110, 125],  # mean 10 as of 100: allowed 20; 125 + 20 = 145, day 45
            "slow": [40, 70, 100 - 1],  # mean 29.5, allowed 59: gone at 158, day 58
            "twins": [98, 98.5],  # mean 0.5 counts as 7: allowed 14: gone at 112.5, day 12.5
        }
    )
    settings = asking(kind="cycle", horizons_days=(30, 50), cycle_least_days=7, cycle_first_days=20, cycle_most_days=90)
    assert seen(view, settings) == {
        "once": (True, 35.0),
        "regular": (True, 45.0),
        "slow": (False, np.inf),
        "twins": (True, 12.5),
    }


def test_cycle_takes_the_first_silence_that_was_too_long_although_they_came_back():
    # mean 10, allowed 20: silent from 95 to 130, so gone at 115, day 15
    view = orders({"a": [75, 85, 95, 130, 135]})
    settings = asking(kind="cycle", horizons_days=(30,), cycle_least_days=7)
    assert seen(view, settings) == {"a": (True, 15.0)}


def test_who_leaves_within_the_gap_has_left_when_the_window_opens():
    view = orders({"a": [75, 85, 95]})  # allowed 20: gone at 115
    settings = asking(kind="cycle", horizons_days=(30,), gap_days=20, cycle_least_days=7)
    assert seen(view, settings) == {"a": (True, 0.0)}


def test_the_own_cycle_is_what_was_known_at_as_of():
    # an order on 80, told on 101, is no part of the cycle: (90 - 70) / 1 = 20, allowed 40: gone at 130, day 30
    view = history(("a", "purchase", 70, None, {}), ("a", "purchase", 80, 101, {}), ("a", "purchase", 90, None, {}))
    settings = asking(kind="cycle", horizons_days=(60,), cycle_least_days=7)
    assert seen(view, settings) == {"a": (True, 30.0)}


def test_cycle_asks_only_about_those_not_gone_already():
    view = orders({"due": [60, 70, 80], "gone": [60, 70, 79.9], "once": [56], "once_gone": [54]})
    settings = asking(kind="cycle", cycle_least_days=7, cycle_first_days=22, cycle_most_days=22)
    # due: exactly 20 silent of 20 allowed; gone: mean 9.95, allowed 19.9, silent 20.1; once: 44 of 44
    assert dict(zip(view.customer_keys, eligible(view, at(100), settings), strict=True)) == {
        "due": True,
        "gone": False,
        "once": True,
        "once_gone": False,
    }


def test_cancel_waits_for_the_cancellation():
    view = history(
        ("early", "purchase", 90, None, {}),
        ("early", "cancel", 110.25, None, {}),
        ("late", "purchase", 90, None, {}),
        ("late", "cancel", 130, None, {}),
        ("stays", "purchase", 90, None, {}),
        ("twice", "purchase", 90, None, {}),
        ("twice", "cancel", 115, None, {}),
        ("twice", "cancel", 120, None, {}),
    )
    assert seen(view, asking(kind="cancel", horizons_days=(30,))) == {
        "early": (True, 10.25),
        "late": (False, np.inf),
        "stays": (False, np.inf),
        "twice": (True, 15.0),
    }


def test_a_cancellation_before_as_of_told_later_means_gone_from_the_start():
    view = history(("a", "purchase", 90, None, {}), ("a", "cancel", 95, 101, {}))
    settings = asking(kind="cancel", horizons_days=(30,))
    assert eligible(view, at(100), settings).tolist() == [True]  # nobody knew
    assert seen(view, settings) == {"a": (True, 0.0)}


def test_cancel_asks_about_those_who_came_back_but_not_about_those_who_left():
    view = history(
        ("back", "purchase", 80, None, {}),
        ("back", "cancel", 85, None, {}),
        ("back", "purchase", 90, None, {}),
        ("left", "purchase", 80, None, {}),
        ("left", "cancel", 85, None, {}),
    )
    settings = asking(kind="cancel", horizons_days=(30,))
    assert dict(zip(view.customer_keys, eligible(view, at(100), settings), strict=True)) == {
        "back": True,
        "left": False,
    }
    assert seen(view, settings)["back"] == (False, np.inf)


def test_min_orders_leaves_out_who_ordered_less():
    view = orders({"one": [90], "two": [1, 90]})
    assert eligible(view, at(100), asking(min_orders=2)).tolist() == [False, True]
    assert eligible(view, at(100), asking(min_orders=1)).tolist() == [True, True]


def test_value_is_what_was_paid_from_the_gaps_end_on():
    # gap 5; [105, 195) holds 500 + 700 of the lines of one order and 900 on 194.99; [105, 470) also 1,100 on 195
    view = history(
        ("a", "purchase", 104.99, None, {"amount_minor": 300}),
        ("a", "purchase", 105, None, {"amount_minor": 500, "order_id": "o", "discount_minor": 100}),
        ("a", "purchase", 105, None, {"amount_minor": 700, "order_id": "o", "item_id": "i2"}),
        ("a", "return", 110, None, {"amount_minor": 400}),
        ("a", "purchase", 194.99, None, {"amount_minor": 900}),
        ("a", "purchase", 195, None, {"amount_minor": 1_100}),
        ("b", "purchase", 90, None, {}),
    )
    found = outcomes(view, at(100), asking(gap_days=5), observed_until_us=END)
    assert found.value_minor.tolist() == [[2_100, 3_200], [0, 0]]


def test_value_over_a_window_not_yet_observed_is_missing():
    view = orders({"a": [90, 110]})
    for until, known, year in ((465, None, 500.0), (464.9, None, np.nan), (465, 464.9, np.nan), (470, 465, 500.0)):
        found = outcomes(
            view, at(100), asking(), observed_until_us=at(until), known_us=None if known is None else at(known)
        )
        np.testing.assert_array_equal(found.value_minor, [[500.0, year]])


def test_value_told_too_late_for_a_fit_is_no_part_of_it():
    view = orders({"a": [90, 110]}, recorded_after=100)  # the second is told on 210
    early = outcomes(view, at(100), asking(), observed_until_us=END, known_us=at(210)).value_minor
    later = outcomes(view, at(100), asking(), observed_until_us=END, known_us=at(210) + 1).value_minor
    assert (early[0, 0], later[0, 0]) == (0.0, 500.0)


def test_a_question_about_a_label_column_is_refused_on_an_event_log():
    settings = asking(kind="label", label_column="Churn", horizons_days=(90,))
    with pytest.raises(ConfigurationError, match="asks for column Churn of a table"):
        outcomes(orders({"a": [1]}), at(100), settings, observed_until_us=END)


def test_training_rows_carry_days_and_value_through_every_choice():
    view = orders({f"c{i}": [90, 101 + i] for i in range(30)})
    rows = build_training_set(view, CHURN_FEATURES, [at(100), at(110)], asking(), observed_until_us=END)
    at_100 = rows.take(rows.as_of_us == at(100))
    # rows are sorted by key: c0, c1, c10, c11, ...
    assert at_100.event_days.tolist() == [1.0 + int(key[1:]) for key in view.customer_keys]
    assert at_100.value_minor[:, 0].tolist() == [500.0] * 30
    kept, held_out = rows.split_customers(0.5, np.random.default_rng(0))
    for part in (kept, held_out):
        np.testing.assert_array_equal(np.isinf(part.event_days), part.labels)
        assert part.value_minor.shape == (part.n_rows, 2)


def test_rows_of_the_awaited_churn_are_labelled_where_it_came():
    view = orders({"a": [75, 85, 95], "b": [75, 85, 95, 105, 114, 125]})
    settings = asking(kind="cycle", horizons_days=(10, 20), cycle_least_days=7)
    rows = label_cutoff(view, CHURN_FEATURES, at(100), settings, observed_until_us=END)
    assert rows.labels.tolist() == [True, False]
    assert rows.event_days.tolist() == [15.0, np.inf]


def test_a_column_without_an_allowed_purpose_is_blank_in_training_rows():
    features = list(CHURN_FEATURES)
    features[0] = dataclasses.replace(features[0], purposes=("recommend",))
    some = FeatureSet("some", tuple(features))
    rows = label_cutoff(orders({"a": [90]}), some, at(100), asking(), observed_until_us=END)
    assert np.isnan(rows.values[:, 0]).all()
    whole = label_cutoff(orders({"a": [90]}), CHURN_FEATURES, at(100), asking(), observed_until_us=END)
    np.testing.assert_array_equal(rows.values[:, 1:], whole.values[:, 1:])
    assert whole.values[0, 0] == 10


def test_rows_whose_outcomes_have_another_length_are_refused():
    rows = label_cutoff(orders({"a": [90]}), CHURN_FEATURES, at(100), asking(), observed_until_us=END)
    assert isinstance(rows, TrainingSet)
    with pytest.raises(DataError, match="need one row a label"):
        dataclasses.replace(rows, event_days=np.zeros(2))
