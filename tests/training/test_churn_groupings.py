import numpy as np

from features.churn_features import CHURN_FEATURES
from features.compute import FeatureTable, compute
from features.instants import DAY_US
from tests.churn_worlds import orders
from training.churn_groupings import groupings_of


def table_of(**columns):
    values = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    keys = np.array([f"c{i}" for i in range(len(values))], dtype=object)
    return FeatureTable(customer_keys=keys, as_of_us=0, names=tuple(columns), values=values, fingerprint="f")


def groups(grouping):
    return [None if code < 0 else grouping.groups[code] for code in grouping.codes]


def test_a_group_begins_at_its_edge():
    (tenure,) = groupings_of(table_of(tenure_days=[0, 89.9, 90, 365, 730, np.nan]))
    assert tenure.dimension == "time since the first order"
    years = ["90 to 365 days", "1 to 2 years", "2 years and more"]
    assert groups(tenure) == ["under 90 days", "under 90 days", *years, None]


def test_the_main_channel_is_the_one_of_most_orders():
    nan = np.nan
    (channel,) = groupings_of(
        table_of(
            orders_web_share_365d=[0.6, 0.2, 0.0, nan],
            orders_app_share_365d=[0.4, 0.5, 0.0, nan],
            orders_store_share_365d=[0.0, 0.3, 0.0, nan],
        )
    )
    assert groups(channel) == ["web", "app", "another channel", None]


def test_value_is_in_thirds_of_the_customers_judged():
    (value,) = groupings_of(table_of(spend_minor_365d=np.arange(9) * 100))
    assert np.bincount(value.codes).tolist() == [3, 3, 3]


def test_a_category_of_few_texts_and_a_trait_make_groups():
    table = table_of(contract=[0, 1, np.nan, 1])
    country = np.array(["FR", None, "DE", "FR"], dtype=object)
    found = groupings_of(table, {"contract": ("monthly", "yearly")}, {"country": country})
    assert [(grouping.dimension, groups(grouping)) for grouping in found] == [
        ("contract", ["monthly", "yearly", None, "yearly"]),
        ("country", ["FR", None, "DE", "FR"]),
    ]


def test_of_many_countries_the_commonest_eight_make_groups():
    texts = np.array([f"land {i % 20:02}" for i in range(100)] + ["land 19"] * 5, dtype=object)
    (country,) = groupings_of(table_of(x=np.zeros(105)), None, {"country": texts})
    assert len(country.groups) == 8
    assert country.groups[0] == "land 19"
    assert int((country.codes == -1).sum()) == 12 * 5


def test_a_table_without_events_is_parted_by_thirds_of_its_numbers():
    months, flag = np.arange(30.0), np.arange(30.0) % 2
    found = groupings_of(table_of(tenure=months, senior=flag, contract=flag), {"contract": ("monthly", "yearly")})
    assert [grouping.dimension for grouping in found] == ["tenure", "contract"]
    assert np.bincount(found[0].codes).tolist() == [10, 10, 10]


def test_one_group_alone_is_no_grouping():
    assert groupings_of(table_of(tenure_days=[1, 2, 3])) == ()


def test_the_churn_features_of_a_shop_give_all_groupings():
    view = orders({"often": [10, 40, 70, 95], "once": [90], "gone": [1, 5, 9, 13], "old": [1, 98]})
    found = groupings_of(compute(view, CHURN_FEATURES, 100 * DAY_US))
    assert {grouping.dimension for grouping in found} >= {
        "time since the first order",
        "orders so far",
        "money spent in the last 365 days",
        "life stage",
    }
