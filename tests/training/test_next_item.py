"""What customers turn to next, read from a log of a few events."""

import numpy as np
import pyarrow as pa
import pytest

from features.customer_view import CustomerView
from features.instants import DAY_US, MINUTE_US, SECOND_US
from features.interactions import InteractionSettings, ItemIndex
from features.schema import EVENTS
from serving.sources.histories import Histories
from training.next_item import Moments, side_by_side

INDEX = ItemIndex(tuple("abcd"))
START = 100 * DAY_US
SETTINGS = InteractionSettings()


def view_of(*events: tuple[str, str, str, int]) -> CustomerView:
    """Events as (customer, item, kind, minutes after START), recorded a second later."""
    times = [START + minutes * MINUTE_US for *_, minutes in events]
    columns = {
        "event_id": [f"e{number}" for number in range(len(events))],
        "customer_key": [one[0] for one in events],
        "item_id": [one[1] for one in events],
        "kind": [one[2] for one in events],
        "occurred_at": pa.array(times, pa.timestamp("us", tz="UTC")),
        "recorded_at": pa.array([time + SECOND_US for time in times], pa.timestamp("us", tz="UTC")),
    }
    rows = len(events)
    table = {f.name: columns.get(f.name, pa.nulls(rows, f.type)) for f in EVENTS.arrow}
    return CustomerView.from_events(pa.table(table).cast(EVENTS.arrow))


@pytest.fixture
def view() -> CustomerView:
    return view_of(
        ("one", "a", "view", 0),
        ("one", "b", "view", 1),
        ("one", "a", "cart", 2),
        ("one", "c", "view", 90),
        ("two", "d", "view", 5),
    )


def moments(view, **options) -> dict[str, tuple[str, list[str]]]:
    """What was viewed -> what came next and what was left out."""
    found = Moments.read(view, START, START + DAY_US, INDEX, most=10, rng=np.random.default_rng(0), **options)
    ids = INDEX.item_ids
    return {
        ids[viewed]: (ids[after], [ids[item] for item in found.left_out.of(number)])
        for number, (viewed, after) in enumerate(zip(found.viewed, found.next_item, strict=True))
    }


def test_the_next_item_is_the_first_other_one_and_the_last_view_has_none(view):
    assert moments(view) == {"a": ("b", ["a"]), "b": ("a", ["b"])}


def test_where_news_is_wanted_the_whole_session_is_left_out(view):
    assert moments(view, news=True) == {"a": ("b", ["a"]), "b": ("c", ["a", "b"])}


def test_the_view_is_known_at_its_moment_and_what_comes_later_is_not(view):
    found = Moments.read(view, START, START + DAY_US, INDEX, most=10, rng=np.random.default_rng(0))
    histories = found.histories(view, INDEX, SETTINGS)
    own = {int(found.viewed[row]): np.diff(histories.steps.offsets)[row] for row in range(len(found))}
    assert own == {0: 1, 1: 2}
    before = found.histories(view, INDEX, SETTINGS, as_of_us=found.as_of_us - 1)
    assert len(before.steps.items) == len(histories.steps.items) - 2


def test_histories_side_by_side_keep_ages_and_weights(view):
    parts = [Histories.read(view, START + days * DAY_US, INDEX, SETTINGS) for days in (1, 3)]
    joined = side_by_side(parts)
    assert joined.n_customers == 4
    for number, part in enumerate(parts):
        own = joined.part(2 * number, 2 * number + 2)
        assert own.weights.tolist() == part.weights.tolist()
        assert (own.as_of_us - own.steps.times_us).tolist() == (part.as_of_us - part.steps.times_us).tolist()
        assert own.steps.offsets.tolist() == part.steps.offsets.tolist()


def test_no_view_is_no_moment(view):
    found = Moments.read(view, START - DAY_US, START, INDEX, most=10, rng=np.random.default_rng(0))
    assert len(found) == 0
    assert found.histories(view, INDEX, SETTINGS).n_customers == 0
