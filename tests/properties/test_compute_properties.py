"""Whatever the events are: one customer equals the batch, order of input and the future change nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.customer_view import CustomerView
from features.instants import DAY_US
from features.schema import KINDS
from tests.event_tables import event, event_table, us

START = us("2024-01-01")
AS_OF = START + 500 * DAY_US


@st.composite
def events(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    # few distinct instants, so that ties are common; some after as_of, some on an edge of a window, some on one day
    day, within = st.sampled_from([100, 140, 380, 460, 499, 500, 520]), st.sampled_from([0, 0, 1, 40_000_000_007])
    occurred = START + draw(day) * DAY_US + draw(within)
    recorded = occurred + draw(st.sampled_from([0, 1, 40 * DAY_US]))
    bounds = KINDS[kind].value_range or (0, 5)
    needs_value = "value" in KINDS[kind].required
    value = draw(st.integers(*bounds)) if needs_value else draw(st.none() | st.integers(*bounds))
    return event(
        draw(st.sampled_from("abc")),
        kind,
        occurred,
        recorded,
        item_id=draw(st.sampled_from(["x", "y", "z"])),
        order_id=draw(st.none() | st.sampled_from(["o1", "o2", "o3"])),
        amount_minor=draw(st.integers(0, 10_000)),
        discount_minor=draw(st.none() | st.integers(0, 500)),
        quantity=draw(st.none() | st.integers(1, 5)),
        channel=draw(st.none() | st.sampled_from(["web", "app", "store", "kiosk"])),
        value=value,
        topic=draw(st.none() | st.sampled_from(["out_of_stock", "changed_mind", "not_as_expected"])),
    )


def table_of(rows, as_of=AS_OF):
    view = CustomerView.from_events(event_table(*rows))
    return view, compute(view, CHURN_FEATURES, as_of)


def same(left, right):
    return np.array_equal(left, right, equal_nan=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), max_size=40), st.integers(0, 2 * DAY_US))
def test_each_customer_alone_equals_the_batch_bit_for_bit(rows, before_us):
    as_of = AS_OF - before_us
    view, table = table_of(rows, as_of)
    for row in range(view.n_customers):
        alone = compute(view.select([row]), CHURN_FEATURES, as_of)
        assert same(alone.values[0], table.values[row])


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), max_size=40), st.randoms(use_true_random=False))
def test_permuting_the_input_changes_nothing(rows, random):
    _, table = table_of(rows)
    random.shuffle(rows)
    assert same(table_of(rows)[1].values, table.values)


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), min_size=1, max_size=40))
def test_events_at_or_after_as_of_or_recorded_then_change_nothing(rows):
    view, table = table_of(rows)
    known = [row for row in rows if row["occurred_at"] < AS_OF and row["recorded_at"] < AS_OF]
    past, expected = table_of(known)
    chosen = table.values[view.rows_of(past.customer_keys.tolist())]
    assert same(chosen, expected.values)


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), min_size=2, max_size=40), st.data())
def test_union_of_any_two_parts_is_the_whole(rows, data):
    cut = data.draw(st.integers(0, len(rows)))
    parts = [CustomerView.from_events(event_table(*part)) for part in (rows[:cut], rows[cut:])]
    joined = compute(CustomerView.union(parts), CHURN_FEATURES, AS_OF)
    assert same(joined.values, table_of(rows)[1].values)


ARRAYS = ("customer_keys", "item_ids", "offsets", "occurred_us", "recorded_us", "item")


@settings(max_examples=60, deadline=None)
@given(st.lists(events(), max_size=20))
def test_several_customers_as_one_are_a_customer_who_did_all_of_it(rows):
    one = CustomerView.from_events(event_table(*rows)).as_one("k")
    sent = CustomerView.from_events(event_table(*(row | {"customer_key": "k"} for row in rows)))
    for name in ARRAYS:
        assert np.array_equal(getattr(one, name), getattr(sent, name))
    for name, column in sent.columns.items():
        assert np.array_equal(one.columns[name], column)
