import json

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import FeatureTable
from features.errors import ArtefactError
from serving.behaviour import BEHAVIOUR_FEATURES, Behaviour, measure
from serving.lifecycle import LIFECYCLE_FEATURES, STAGES, Lifecycle
from serving.releases import load_named
from serving.rfm import RFM_CELLS, RFM_FEATURES, RfmScale
from serving.segments import LANGUAGES, Segmentation, Stability, segment_words
from tests.segment_tables import NEVER_ORDERED, table_of
from tests.tiny_shop import tiny_shop


def segmentation(**changes):
    parts = {
        "rfm": RfmScale(np.arange(1.0, 5.0), np.arange(1.0, 5.0), np.arange(1.0, 5.0)),
        "lifecycle": Lifecycle(40.0),
        "behaviour": Behaviour(
            ("order_value", "discount"),
            np.array([8.0, 0.1]),
            np.array([2.0, 0.1]),
            np.array([[1.0, -1.0], [-1.0, 1.0]]),
            ({"en": "big spenders", "zh": "高客单价顾客"}, {"en": "bargain hunters", "zh": "偏爱折扣的顾客"}),
        ),
        "stability": Stability(0.4, 0.9, 0.85, 1_000),
        "as_of_us": 1_700_000_000_000_000,
    }
    return Segmentation(**{**parts, **changes})


def test_every_feature_that_is_read_is_a_churn_feature():
    assert {*RFM_FEATURES, *LIFECYCLE_FEATURES, *BEHAVIOUR_FEATURES} <= set(CHURN_FEATURES.names)


def test_every_code_has_a_name_in_every_language():
    words = segment_words()
    for language in LANGUAGES:
        names = segmentation().names(language)
        assert (len(names.rfm), len(names.stage), len(names.segment)) == (len(RFM_CELLS), len(STAGES), 3)
        for part in (names.rfm, names.stage, names.segment):
            assert len(set(part)) == len(part)
    assert set(words["rfm"]) == set(RFM_CELLS)
    assert set(words["stage"]) == set(STAGES)
    assert all(set(entry["meaning"]) == set(LANGUAGES) for entry in (*words["rfm"].values(), *words["stage"].values()))


def test_customer_goes_to_the_nearest_centroid():
    # order values e^10 - 1 and e^6 - 1 lie one scale above and below the centre, discounts likewise
    rich = {"order_value_minor_365d": np.exp(10) - 1, "discount_share_365d": 0.0}
    thrifty = {"order_value_minor_365d": np.exp(6) - 1, "discount_share_365d": 0.2}

    assert segmentation().of(table_of(rich, thrifty)).segment.tolist() == [1, 2]


def test_missing_measure_takes_the_centre():
    # the order value decides alone
    found = segmentation().of(table_of({"order_value_minor_365d": np.exp(9) - 1, "discount_share_365d": np.nan}))

    assert found.segment.tolist() == [1]


def test_no_order_in_the_last_year_has_its_own_segment():
    keys = segmentation().segment_keys
    found = segmentation().of(table_of(NEVER_ORDERED, {"orders_count_365d": 0.0, "discount_share_365d": np.nan}))

    assert [keys[code] for code in found.segment] == ["no_recent_order"] * 2
    assert keys == ("no_recent_order", "s1", "s2")


def test_frequency_of_a_new_customer_is_not_taken_at_its_word():
    # one order yesterday: no gap seen, (0 + 1) orders in 1 + 90 days; 12 orders in 365 days of more: 13 in 455
    table = table_of({"tenure_days": 1.0, "orders_count_365d": 1.0}, {})

    np.testing.assert_allclose(
        measure(table, ("frequency",))[:, 0], [np.log(365 / 91), np.log(365 * 13 / 455)], rtol=1e-12
    )


def test_one_customer_has_the_segments_that_the_batch_gives():
    rng = np.random.default_rng(3)
    table = table_of(
        orders_recency_days=rng.exponential(5, 200),
        order_value_minor_365d=rng.lognormal(8, 1, 200),
        discount_share_365d=rng.random(200) / 3,
        tenure_days=rng.uniform(1, 900, 200),
    )
    whole = segmentation().of(table)

    for row in range(200):
        one = segmentation().of(table.select(np.array([row])))
        assert all(values[0] == getattr(whole, name)[row] for name, values in vars(one).items())


def test_table_without_a_column_is_refused_by_name():
    table = table_of({})
    fewer = FeatureTable(table.customer_keys, 0, table.names[1:], table.values[:, 1:], "")

    with pytest.raises(ArtefactError, match=table.names[0]):
        segmentation().of(fewer)


def test_segmentation_survives_its_manifest():
    written = segmentation().to_manifest()
    again = Segmentation.from_manifest(json.loads(json.dumps(written)))

    assert again.to_manifest() == written
    table = table_of({}, NEVER_ORDERED)
    assert vars(again.of(table))["segment"].tolist() == segmentation().of(table).segment.tolist()


def test_unknown_stability_is_written_as_null():
    unknown = segmentation(stability=Stability(np.nan, np.nan, np.nan, 3)).to_manifest()

    assert unknown["silhouette"] is None
    assert np.isnan(Segmentation.from_manifest(unknown).stability.rand_mean)


def changed(path, value):
    manifest = json.loads(json.dumps(segmentation().to_manifest()))
    *folders, last = path
    place = manifest
    for folder in folders:
        place = place[folder]
    place[last] = value
    return manifest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("rfm",), None),
        (("rfm", "recency_days"), [1.0, 2.0]),
        (("behaviour", "measures"), ["order_value", "moon_phase"]),
        (("behaviour", "scale"), [1.0, 0.0]),
        (("behaviour", "segments"), []),
        (("behaviour", "segments", 0, "centroid"), [1.0]),
        (("behaviour", "segments", 0, "names"), {"en": "bargain hunters", "zh": "别的"}),
        (("behaviour", "segments", 0, "names"), {"en": "others"}),
        (("rand_mean",), 1.5),
        (("n_customers",), -1),
    ],
)
def test_altered_segmentation_is_refused(path, value):
    with pytest.raises(ArtefactError):
        Segmentation.from_manifest(changed(path, value))


def test_release_carries_its_segments(tmp_path):
    shop = tiny_shop(tmp_path)
    shop.release("without")
    shop.release("with", segments=segmentation())

    assert load_named("without", shop.workspace).segments is None
    carried = load_named("with", shop.workspace).segments
    assert carried is not None
    assert carried.to_manifest() == segmentation().to_manifest()
