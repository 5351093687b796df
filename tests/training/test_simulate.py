from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.errors import ArtefactError, ConfigurationError
from features.instants import DAY_US
from features.schema import CUSTOMERS, EVENTS, ITEMS, KINDS
from features.settings import read_settings
from training.simulate import (
    SimulatedShop,
    SimulationSettings,
    inside,
    read_truth,
    simulate,
    true_affinity,
    write_shop,
)
from training.simulated_shop.words import SENTENCES

ROOT = Path(__file__).resolve().parents[2]
SMALL = SimulationSettings(scale=0.05)
TINY = SimulationSettings(scale=0.01, days=150)


@pytest.fixture(scope="module")
def shop() -> SimulatedShop:
    return simulate(SMALL, 7)


def keys(ids: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise("k", ids, ":")


def of_kind(shop: SimulatedShop, kind: str) -> pa.Table:
    return shop.events.filter(pc.equal(shop.events["kind"], kind))


def days(shop: SimulatedShop, events: pa.Table) -> np.ndarray:
    return (events["occurred_at"].cast("int64").to_numpy() - shop.truth.settings.start_us) // DAY_US


def rows(shop: SimulatedShop, events: pa.Table) -> np.ndarray:
    return pc.index_in(events["customer_id"], pa.array(shop.truth.customer_ids)).to_numpy()


def test_same_seed_gives_the_same_bits_and_another_seed_another_shop() -> None:
    first, again, other = simulate(TINY, 3), simulate(TINY, 3), simulate(TINY, 4)
    assert first.events.equals(again.events)
    assert first.items.equals(again.items)
    assert first.customers.equals(again.customers)
    assert np.array_equal(first.truth.left_day, again.truth.left_day)
    assert not first.events.equals(other.events)


def test_scale_changes_the_number_of_customers_and_nothing_of_the_catalogue() -> None:
    larger = simulate(SimulationSettings(scale=0.02, days=150), 3)
    smaller = simulate(TINY, 3)
    assert larger.items.equals(smaller.items)
    assert np.array_equal(larger.truth.calendar.promotion, smaller.truth.calendar.promotion)
    assert (smaller.customers.num_rows, larger.customers.num_rows) == (200, 400)


def test_a_thousand_customers_make_about_sixty_thousand_events(shop: SimulatedShop) -> None:
    # scale 1 is asked to be 1.2M to 1.6M events of 20,000 customers: 60 to 80 each; 1,000 customers scatter by 10%
    assert shop.customers.num_rows == 1_000
    assert 54_000 <= shop.events.num_rows <= 88_000


def test_tables_have_the_written_columns(shop: SimulatedShop) -> None:
    outside = ["customer_id" if name == "customer_key" else name for name in EVENTS.names]
    assert shop.events.column_names == outside
    assert shop.items.schema.equals(ITEMS.arrow)
    events, customers = inside(shop, keys)
    assert events.schema.equals(EVENTS.arrow)
    assert customers.schema.equals(CUSTOMERS.arrow)
    assert events["customer_key"][0].as_py() == f"k:{shop.events['customer_id'][0].as_py()}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_events_of_each_kind_are_there_and_legal(shop: SimulatedShop, kind: str) -> None:
    events, rule = of_kind(shop, kind), KINDS[kind]
    assert events.num_rows > 0
    for name in (*rule.required, "event_id", "customer_id", "occurred_at", "recorded_at"):
        assert events[name].null_count == 0, name
    if rule.value_range is None:
        assert events["value"].null_count == events.num_rows
    else:
        bounds = pc.min_max(events["value"]).as_py()
        assert rule.value_range[0] <= bounds["min"] <= bounds["max"] <= rule.value_range[1]


def test_amounts_and_quantities_are_in_range_and_ids_unique(shop: SimulatedShop) -> None:
    events = shop.events
    assert set(pc.unique(events["kind"]).to_pylist()) == set(KINDS)
    assert pc.count_distinct(events["event_id"]).as_py() == events.num_rows
    for name, least in (("amount_minor", 0), ("discount_minor", 0), ("quantity", 1)):
        assert pc.min(events[name]).as_py() >= least
    priced, in_euro = pc.is_valid(events["amount_minor"]), pc.is_valid(events["currency"])
    assert pc.all(pc.equal(priced, in_euro)).as_py()
    assert pc.all(pc.is_in(events["item_id"].drop_null(), shop.items["item_id"].combine_chunks())).as_py()


def test_events_lie_in_the_simulated_time_and_some_are_recorded_late(shop: SimulatedShop) -> None:
    occurred = shop.events["occurred_at"].cast("int64").to_numpy()
    recorded = shop.events["recorded_at"].cast("int64").to_numpy()
    assert (recorded >= occurred).all()
    assert occurred.min() >= SMALL.start_us
    assert recorded.max() < SMALL.end_us
    assert (np.diff(recorded) >= 0).all()
    # .020 have an exponential delay of mean 6 h, of which exp(-1/6) = .85 exceed an hour; .003 of them days: about .018
    late = (recorded - occurred > 3_600_000_000).mean()
    assert 0.014 < late < 0.022


def test_lines_of_an_order_share_customer_and_instant(shop: SimulatedShop) -> None:
    lines = of_kind(shop, "purchase").group_by("order_id")
    orders = lines.aggregate(
        [("customer_id", "count_distinct"), ("occurred_at", "count_distinct"), ("item_id", "count")]
    )
    assert pc.max(orders["customer_id_count_distinct"]).as_py() == 1
    assert pc.max(orders["occurred_at_count_distinct"]).as_py() == 1
    assert pc.max(orders["item_id_count"]).as_py() == 5
    assert orders.num_rows == pytest.approx(len(shop.truth.orders.day), rel=0.01)  # a few are not recorded yet


def test_who_has_left_does_nothing_any_more(shop: SimulatedShop) -> None:
    theirs = shop.events.filter(pc.invert(pc.is_in(shop.events["kind"], pa.array(["delivery", "offer", "cancel"]))))
    left = shop.truth.left_day[rows(shop, theirs)]
    assert (left >= 0).any()
    assert (days(shop, theirs)[left >= 0] < left[left >= 0]).all()
    cancels = of_kind(shop, "cancel")
    assert np.array_equal(days(shop, cancels), shop.truth.left_day[rows(shop, cancels)])


def test_the_shop_goes_on_delivering_to_who_has_left(shop: SimulatedShop) -> None:
    parcels = of_kind(shop, "delivery")
    after = days(shop, parcels) - shop.truth.left_day[rows(shop, parcels)]
    left = shop.truth.left_day[rows(shop, parcels)] >= 0
    assert 0 < (after[left] >= 0).sum() < 0.05 * parcels.num_rows


def test_what_is_out_of_stock_is_not_bought(shop: SimulatedShop) -> None:
    bought = of_kind(shop, "purchase")
    item = pc.index_in(bought["item_id"], pa.array(shop.truth.item_ids)).to_numpy()
    assert shop.truth.catalogue.in_stock[days(shop, bought), item].all()
    missed = shop.events.filter(pc.equal(shop.events["topic"], "out_of_stock"))
    item = pc.index_in(missed["item_id"], pa.array(shop.truth.item_ids)).to_numpy()
    assert missed.num_rows > 100
    assert not shop.truth.catalogue.in_stock[days(shop, missed), item].any()


def test_an_unanswered_complaint_has_its_topic_and_no_waiting_time(shop: SimulatedShop) -> None:
    contacts = of_kind(shop, "support")
    ignored = pc.equal(contacts["topic"], "complaint_unanswered")
    assert pc.all(pc.equal(ignored, pc.is_null(contacts["value"]))).as_py()
    assert 0.05 < pc.mean(ignored.cast("float64")).as_py() < 0.30


def test_words_of_a_review_agree_with_its_stars(shop: SimulatedShop) -> None:
    reviews = of_kind(shop, "review").to_pylist()
    for word, stars in (
        ("Terrible.", {1}),
        ("Rather poor.", {2}),
        ("Average.", {3}),
        ("I like it.", {4}),
        ("Excellent!", {5}),
    ):
        written = {review["value"] for review in reviews if word in (review["text"] or "")}
        assert written <= stars
    assert len(set(SENTENCES)) == len(SENTENCES) == 125
    assert sum(review["text"] is not None for review in reviews) > 0.7 * len(reviews)


def test_most_customers_order_every_two_to_eight_weeks(shop: SimulatedShop) -> None:
    orders = shop.truth.orders
    order = np.lexsort((orders.day, orders.row))
    gaps, same = np.diff(orders.day[order]), np.diff(orders.row[order]) == 0
    typical = [np.median(gaps[same][orders.row[order][1:][same] == row]) for row in np.unique(orders.row)[:400]
               if (orders.row == row).sum() >= 5]  # fmt: skip
    assert len(typical) > 50
    assert np.mean([(14 <= gap <= 56) for gap in typical]) > 0.6


def test_true_taste_ranks_what_is_bought_next_better_than_popularity(shop: SimulatedShop) -> None:
    bought = of_kind(shop, "purchase")
    item = pc.index_in(bought["item_id"], pa.array(shop.truth.item_ids)).to_numpy()
    customer, last = rows(shop, bought), days(shop, bought) >= 700
    popular = np.bincount(item[~last], minlength=len(shop.truth.item_ids))
    buyers = np.unique(customer[last])
    affinity = true_affinity(shop.truth, buyers, np.arange(len(popular)))

    def recall(scores: np.ndarray) -> float:
        top = np.argsort(-scores, axis=1)[:, :10]
        return float(
            np.mean([np.isin(item[last & (customer == b)], t).mean() for b, t in zip(buyers, top, strict=True)])
        )

    by_popularity = recall(np.tile(popular, (len(buyers), 1)))
    assert by_popularity > 0.03
    assert recall(affinity) > 1.5 * by_popularity


def test_written_files_come_back_and_the_truth_lies_apart(shop: SimulatedShop, tmp_path: Path) -> None:
    files = write_shop(shop, tmp_path / "shop", tmp_path / "truth")
    assert pq.read_table(files.events).equals(shop.events)
    assert pq.read_table(files.items).equals(shop.items)
    assert pq.read_table(files.customers).equals(shop.customers)
    assert sorted(path.name for path in (tmp_path / "shop").iterdir()) == [
        "customers.parquet", "events.parquet", "items.parquet",
    ]  # fmt: skip
    truth = read_truth(files.truth)
    assert truth.settings == shop.truth.settings
    assert truth.customer_ids == shop.truth.customer_ids
    for name in ("left_day", "cause"):
        assert np.array_equal(getattr(truth, name), getattr(shop.truth, name))
    assert np.array_equal(truth.incidents.amounts, shop.truth.incidents.amounts)
    assert np.array_equal(truth.people.taste, shop.truth.people.taste)


def test_a_missing_truth_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no truth\.json in the truth folder; simulate"):
        read_truth(tmp_path)


def test_settings_refuse_what_makes_no_sense() -> None:
    for values, word in (
        ({"scale": 0.0}, "scale"), ({"days": 5}, "days"), ({"n_items": 10}, "n_items"),
        ({"end": "2026-01-01T10:00:00Z"}, "midnight"), ({"hazard": {"mass": [1.0]}}, "mass"), ({"sclae": 1.0}, "sclae"),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=word):
            read_settings(SimulationSettings, values)


@pytest.mark.parametrize("package", ["features", "serving"])
def test_no_feature_and_no_service_reads_the_truth(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for path in modules:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert node.attr != "truth", path.name
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "truth." not in node.value or "\n" in node.value, path.name
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            assert not any("simulat" in name or name.startswith("training") for name in names), path.name
