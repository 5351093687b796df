import csv
import io
import math

import numpy as np
import pytest

from features.errors import ConfigurationError, NotEnoughDataError
from serving.segments import LANGUAGES
from tests.segment_tables import NEVER_ORDERED, table_of
from training.segment_naming import name_segments
from training.segment_report import segment_rows, segments_csv, segments_png
from training.segment_settings import SegmentSettings
from training.segments import adjusted_rand, fit_segments

QUICK = SegmentSettings(counts=(2, 3, 4), bootstraps=5)


def three_groups(rng, each=150):
    """Frequent small baskets, rare large ones, and bargain hunters in between."""
    return table_of(
        orders_recency_days=rng.uniform(1, 100, 3 * each),
        orders_count_365d=np.repeat([30.0, 3.0, 10.0], each),
        order_value_minor_365d=np.repeat([500.0, 60_000.0, 5_000.0], each) * rng.lognormal(0, 0.05, 3 * each),
        discount_share_365d=np.repeat([0.01, 0.01, 0.4], each) * rng.lognormal(0, 0.05, 3 * each),
        spend_minor_365d=rng.lognormal(8, 1, 3 * each),
    )


def test_planted_groups_are_found_again_and_named_by_what_they_are():
    found = fit_segments(three_groups(np.random.default_rng(1)), QUICK)

    assert len(found.behaviour.names) == 3
    assert found.stability.rand_low > 0.99
    codes = found.of(three_groups(np.random.default_rng(2), each=10)).segment.reshape(3, 10)
    assert (codes == codes[:, :1]).all()
    frequent, rare, bargain = (found.names("en").segment[code] for code in codes[:, 0])
    assert frequent.startswith("frequent small spenders")
    assert rare.startswith("infrequent big spenders")
    assert "buy on discount" in bargain


def test_fit_is_repeatable():
    table = three_groups(np.random.default_rng(1))

    assert fit_segments(table, QUICK).to_manifest() == fit_segments(table, QUICK).to_manifest()


def test_measures_that_do_not_vary_are_left_out():
    # all of these customers have as many items an order and as many views
    found = fit_segments(three_groups(np.random.default_rng(1)), QUICK)

    assert "visits" not in found.behaviour.measures
    assert "discount" in found.behaviour.measures


def test_fifths_are_as_large_as_they_can_be():
    # days 1 to 100: fifths of 20, so the latest fifth is days 1 to 20
    days = np.arange(1.0, 101.0)
    table = table_of(orders_recency_days=days, orders_count_365d=days, spend_minor_365d=days)
    found = fit_segments(table, QUICK).of(table)

    assert np.bincount(found.recency)[1:].tolist() == [20] * 5
    assert found.recency[:20].tolist() == [5] * 20
    assert found.frequency[-20:].tolist() == [5] * 20


def test_usual_cycle_is_the_median_of_the_customers():
    table = table_of(order_gap_mean_days_all=np.array([10.0, 20.0, 60.0, np.nan]))

    assert fit_segments(table, QUICK).lifecycle.usual_cycle_days == 20.0


def test_few_customers_are_not_told_apart():
    found = fit_segments(three_groups(np.random.default_rng(1), each=10), QUICK)

    assert found.names("en").segment[1:] == ("ordinary customers",)
    assert math.isnan(found.stability.silhouette)
    assert found.stability.n_customers == 30


def test_nobody_with_an_order_is_an_error():
    with pytest.raises(NotEnoughDataError, match="0 customers ordered"):
        fit_segments(table_of(NEVER_ORDERED), QUICK)


def test_segments_of_a_cloud_without_groups_are_told_to_be_weak():
    rng = np.random.default_rng(5)
    cloud = table_of(
        orders_count_365d=rng.poisson(10, 400) + 1.0,
        order_value_minor_365d=rng.lognormal(8, 1, 400),
        discount_share_365d=rng.random(400),
    )

    assert fit_segments(cloud, QUICK).stability.silhouette < 0.4


def test_names_stay_apart_in_every_language():
    # both centroids are frequent and nothing else; the second thing that is true of them tells them apart
    names = name_segments(np.array([[1.0, 0.2], [1.0, -0.2]]), ("frequency", "discount"))

    assert [name["en"] for name in names] == [
        "frequent customers, buy on discount",
        "frequent customers, buy at full price",
    ]
    same = name_segments(np.array([[1.0], [1.2], [-1.0], [0.1]]), ("frequency",))
    for language in LANGUAGES:
        assert len({name[language] for name in same}) == 4
    assert [name["en"] for name in same] == [
        "frequent customers", "frequent customers (2)", "infrequent customers", "ordinary customers",
    ]  # fmt: skip


def test_adjusted_rand_agrees_with_hand_arithmetic():
    # groups {1,2,3},{4,5,6} and {1,2},{3,4,5,6}: pairs together in both 1 + 3 = 4, in one 6, in the other 1 + 6 = 7;
    # by chance 6 * 7 / 15 = 2.8; (4 - 2.8) / ((6 + 7) / 2 - 2.8) = 1.2 / 3.7
    assert adjusted_rand(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])) == pytest.approx(1.2 / 3.7)


@pytest.mark.parametrize("changes", [{"counts": ()}, {"counts": (1,)}, {"bootstraps": 1}, {"min_customers": 5}])
def test_settings_without_sense_are_refused(changes):
    with pytest.raises(ConfigurationError):
        SegmentSettings(**changes)


def test_report_counts_customers_and_churners_of_each_group():
    table = table_of({}, {"orders_recency_days": 500.0}, {"orders_recency_days": 600.0}, NEVER_ORDERED)
    found = fit_segments(table, QUICK)
    judged, churned = np.array([True, True, False, False]), np.array([False, True, True, True])

    rows = {(row.kind, row.key): row for row in segment_rows(found, table, judged, churned)}

    assert rows["stage", "active"].churn_rate == 0.0
    lost = rows["stage", "lost"]
    assert (lost.n_customers, lost.share, lost.n_judged, lost.churn_rate) == (2, 0.5, 1, 1.0)
    assert math.isnan(rows["stage", "no_order"].churn_rate)
    assert rows["segment", "s1"].spend_minor_365d == 60_000.0
    written = list(csv.DictReader(io.StringIO(segments_csv(list(rows.values())).decode())))
    assert [row["churn_rate"] for row in written if row["kind"] == "stage"] == ["", "0.0", "1.0"]
    assert segments_png(list(rows.values())).startswith(b"\x89PNG")
    assert segments_png([]).startswith(b"\x89PNG")
