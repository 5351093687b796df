"""What is said of a customer, sentence by sentence, in both languages; and what the catalogue must hold for it."""

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import ConfigurationError
from serving.languages import LANGUAGES
from serving.reason_catalogue import catalogue, read_catalogue
from serving.reason_texts import percent, shower, tell
from serving.reasons import reasons
from tests.reason_rows import model_with, moves, row

UNITS = catalogue().units


def told(feature, values, medians=None, currency=None):
    """The text of the reason that this feature leads, in each language."""
    model = model_with(medians or {})
    given = reasons, model, row(values), moves({feature: 0.5})
    return tuple(given[0](*given[1:], 1, language, currency)[0].text for language in LANGUAGES)


GAPS = {"order_gap_mean_days_all": 21.2}


@pytest.mark.parametrize(
    ("feature", "values", "english", "chinese"),
    [
        (
            "orders_recency_days",
            {"orders_recency_days": 47.3, **GAPS},
            "has not bought for 47 days; usually every 21",
            "已有 47 天未购买；通常每 21 天一次",
        ),
        (
            "orders_recency_days",
            {"orders_recency_days": 1.2, "order_gap_mean_days_all": 1.0},
            "has not bought for 1 day; usually every day",
            "已有 1 天未购买；通常每 1 天一次",
        ),
        (
            "orders_recency_days",
            {"orders_recency_days": 0.4, **GAPS},
            "bought within the last day; usually every 21",
            "最近一天内购买过；通常每 21 天一次",
        ),
        (
            "cycle_position_all",  # told as the days themselves
            {"cycle_position_all": 2.2, "orders_recency_days": 46.6, **GAPS},
            "has not bought for 47 days; usually every 21",
            "已有 47 天未购买；通常每 21 天一次",
        ),
        # 14 views in 90 days, 2 of them in the last 30: 12 in the 60 days before, 6 in 30
        (
            "views_count_30d",
            {"views_count_30d": 2, "views_count_90d": 14, "tenure_days": 400},
            "looked at 2 items in the last 30 days; usually 6",
            "最近 30 天浏览商品 2 件；通常 6 件",
        ),
        # 11 of the year's 12 orders lie in the 275 days before the last 90: 11 / 275 * 90 = 3.6
        (
            "orders_count_90d",
            {"orders_count_90d": 1, "orders_count_365d": 12, "tenure_days": 900},
            "1 order in the last 90 days; usually 3.6",
            "最近 90 天下单 1 次；通常 3.6 次",
        ),
        # a customer for 200 days: 5 of 5 orders lie in the 110 days before the last 90: 5 / 110 * 90 = 4.1
        (
            "orders_count_90d",
            {"orders_count_90d": 0, "orders_count_365d": 5, "tenure_days": 200},
            "no order in the last 90 days; usually 4.1",
            "最近 90 天没有下单；通常 4.1 次",
        ),
        (
            "logins_recency_days",  # 30 times in 90 days is every 3
            {"logins_recency_days": 12, "logins_count_90d": 30},
            "has not signed in for 12 days; usually every 3",
            "已有 12 天未登录；通常每 3 天一次",
        ),
        (
            "logins_count_30d",
            {"logins_count_30d": 1, "logins_count_90d": 1, "tenure_days": 500},
            "signed in once in the last 30 days; usually 0",
            "最近 30 天登录 1 次；通常 0 次",
        ),
        ("orders_trend_30d", {"orders_trend_30d": -1}, "no orders in the last 30 days, after some in the 30 before",
         "最近 30 天没有订单，而此前 30 天有"),
        # 1 against 3 before is (1 - 3) / 4 = -.5: two thirds less
        ("views_trend_14d", {"views_trend_14d": -0.5}, "looks at items in the last 14 days down 67% on the 14 before",
         "最近 14 天的浏览比此前 14 天减少 67%"),
        ("spend_trend_90d", {"spend_trend_90d": 0.2}, "spending in the last 90 days up 50% on the 90 before",
         "最近 90 天的消费比此前 90 天增加 50%"),
        ("carts_trend_30d", {}, "no items put into the basket in the last 60 days", "最近 60 天没有加购"),
        ("late_deliveries_recency_days", {"late_deliveries_recency_days": 5}, "the last late delivery was 5 days ago",
         "上次配送延误是 5 天前"),
        ("late_delivery_load",  # a load is a number that nobody knows: told as the days since
         {"late_delivery_load": 61.3, "late_deliveries_recency_days": 5}, "the last late delivery was 5 days ago",
         "上次配送延误是 5 天前"),
        ("support_wait_load", {"support_wait_load": 140.2, "support_wait_minutes_90d": 372},
         "waited 6.2 hours on average for support's answer in the last 90 days", "最近 90 天平均等待客服答复 6.2 小时"),
        ("disappointments_load", {"disappointments_load": 0.0}, "no item disappointed", "没有令其失望的商品"),
        # four months ago: little weight is left of it, but it happened
        ("disappointments_load", {"disappointments_load": 0.02},
         "an item disappointed: it was sent back, or got a poor review", "有商品令其失望：退回或给了差评"),
        # 32 of 33 active days lie in the 400 days before the last 90: 32 / 400 * 90 = 7.2
        ("active_days_count_90d", {"active_days_count_90d": 1, "active_days_count_all": 33, "tenure_days": 490},
         "was seen on 1 day in the last 90 days; usually 7", "最近 90 天中有 1 天有活动；通常 7 天"),
        ("active_days_count_90d", {"active_days_count_90d": 0}, "was not seen in the last 90 days",
         "最近 90 天没有任何活动"),
        ("active_days_count_all", {"active_days_count_all": 33}, "was seen on 33 days in all", "累计有 33 天有活动"),
        ("delivery_last_late_hours", {"delivery_last_late_hours": -1}, "the last delivery came 1 hour early",
         "上次配送提前 1 小时"),
        ("delivery_last_late_hours", {"delivery_last_late_hours": 96}, "the last delivery came 4 days late",
         "上次配送延误 4 天"),
        ("returns_recency_days", {}, "has never sent anything back", "从未退货"),
        ("csat_last", {"csat_last": 2}, "last rated the service 2 out of 5", "上次服务评分为 2 分（满分 5 分）"),
        ("tenure_days", {"tenure_days": 420}, "a customer for 14 months", "成为顾客已有 14 个月"),
        ("orders_app_share_365d", {"orders_app_share_365d": 0.254},
         "25% of the orders in the last 365 days in the app", "最近 365 天的订单中有 25% 来自应用"),
    ],
)  # fmt: skip
def test_own_words_by_hand(feature, values, english, chinese):
    assert told(feature, values) == (english, chinese)


@pytest.mark.parametrize(
    ("feature", "value", "median", "english", "chinese"),
    [
        ("late_deliveries_count_90d", 1, 0, "1 late delivery in the last 90 days; other customers usually 0",
         "最近 90 天配送延误 1 次；其他顾客通常 0 次"),
        ("late_deliveries_count_90d", 3, 0, "3 late deliveries in the last 90 days; other customers usually 0",
         "最近 90 天配送延误 3 次；其他顾客通常 0 次"),
        ("late_deliveries_count_90d", 0, 0, "no late delivery in the last 90 days", "最近 90 天没有配送延误"),
        ("orders_recency_days", 47, 30, "has not bought for 47 days", "已有 47 天未购买"),
        ("support_wait_minutes_30d", 372, 42,
         "waited 6.2 hours on average for support's answer in the last 30 days; other customers usually 42 minutes",
         "最近 30 天平均等待客服答复 6.2 小时；其他顾客通常 42 分钟"),
        ("stockouts_share_90d", 0.25, 0.004,
         "25% of the items looked at in the last 90 days were out of stock; other customers usually 0.4%",
         "最近 90 天浏览的商品中有 25% 缺货；其他顾客通常 0.4%"),
        ("unanswered_count_30d", 2, 0, "2 contacts that got no answer in the last 30 days; other customers usually 0",
         "最近 30 天联系客服未获答复 2 次；其他顾客通常 0 次"),
        ("orders_count_90d_year_ago", 4, 2,
         "4 orders a year ago in the season that comes next; other customers usually 2",
         "去年同期（即将到来的季节）下单 4 次；其他顾客通常 2 次"),
    ],
)  # fmt: skip
def test_where_the_history_holds_no_usual_it_is_that_of_other_customers(feature, value, median, english, chinese):
    assert told(feature, {feature: value}, {feature: median}) == (english, chinese)


def test_who_has_no_rhythm_yet_is_compared_with_the_rhythm_of_others_not_with_their_silence():
    medians = {"orders_recency_days": 30, "order_gap_mean_days_all": 35}
    assert told("orders_recency_days", {"orders_recency_days": 71}, medians) == (
        "has not bought for 71 days; other customers usually every 35",
        "已有 71 天未购买；其他顾客通常每 35 天一次",
    )


def test_a_rate_needs_as_long_a_history_before_the_window_as_the_window_itself():
    values = {"views_count_30d": 2, "views_count_90d": 14}
    assert told("views_count_30d", values | {"tenure_days": 59}) == (
        "looked at 2 items in the last 30 days",
        "最近 30 天浏览商品 2 件",
    )
    # 12 in the 30 days before
    assert told("views_count_30d", values | {"tenure_days": 60})[0].endswith("; usually 12")


@pytest.mark.parametrize(
    ("currency", "english", "chinese"),
    [
        ("GBP", "spent £1,234.50", "消费 £1,234.50"),
        ("CNY", "spent CN¥1,234.50", "消费 ¥1,234.50"),
        ("JPY", "spent ¥123,450", "消费 JP¥123,450"),
        ("PLN", "spent PLN 1,234.50", "消费 PLN 1,234.50"),
        (None, "spent 1,234.50", "消费 1,234.50"),
    ],
)
def test_amounts_have_their_currency_and_its_decimals(currency, english, chinese):
    said = told("spend_minor_90d", {"spend_minor_90d": 123_450}, currency=currency)
    assert said == (f"{english} in the last 90 days", f"最近 90 天{chinese}")


def test_own_order_value_is_told_beside_the_usual_one():
    values = {"order_value_minor_90d": 8_420.4, "order_value_minor_365d": 9_200}
    assert told("order_value_minor_90d", values, currency="EUR") == (
        "orders of €84.20 on average in the last 90 days; usually €92.00",
        "最近 90 天平均订单金额 €84.20；通常 €92.00",
    )


@pytest.mark.parametrize(
    ("unit", "value", "english", "chinese"),
    [
        ("days", 1.4, "1 day", "1 天"),
        ("days", 1_234, "1,234 days", "1,234 天"),
        ("orders", 1.04, "1 order", "1 次"),
        ("orders", 9.96, "10 orders", "10 次"),
        ("orders", 0.04, "0 orders", "0 次"),
        ("orders", 2.55, "2.5 orders", "2.5 次"),
        ("minutes", 119, "119 minutes", "119 分钟"),
        ("minutes", 5_400, "4 days", "4 天"),
        ("hours", 71.9, "72 hours", "72 小时"),
        ("tenure", 60, "60 days", "60 天"),
        ("tenure", 800, "2.2 years", "2.2 年"),
        ("number", -0.04, "0", "0"),
    ],
)
def test_numbers_are_shown_as_people_write_them(unit, value, english, chinese):
    assert tuple(shower(UNITS[unit], language)(value).text for language in LANGUAGES) == (english, chinese)


def test_shares_below_one_percent_keep_a_decimal():
    assert [percent(share) for share in (0.0, 0.0004, 0.004, 0.0096, 0.5, 12.3)] == [
        "0%", "0%", "0.4%", "1%", "50%", "1,230%",
    ]  # fmt: skip


@pytest.mark.parametrize("feature", CHURN_FEATURES.features, ids=lambda feature: feature.name)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_feature_says_something_in_both_languages_whatever_its_value(feature, language):
    words = catalogue().words(feature.name)
    assert words.unit is not None
    unknown = catalogue().words("no such feature").phrases[language]["missing"]
    told_of_missing = words.phrases[language]["missing"] != unknown.replace("no such feature", words.told_as)
    can_be_missing = (
        CHURN_FEATURES[words.told_as].missing != "never"
    )  # the text is of the feature told, not of its part
    assert told_of_missing == can_be_missing
    values = [-1.0, -0.5, 0.0, 0.2, 1.0, 2.0, 50.0] + ([np.nan] if can_be_missing else [])
    for usual in (np.nan, 0.0, 1.0, 7.3):
        for own in (False, True):
            size = len(values)
            said = tell(words, language, np.array(values), np.full(size, usual), np.full(size, own))
            assert all(said)
            assert not any(sign in text for text in said for sign in "{}")
            assert all(text.isascii() == (language == "en") for text in said)


SMALL = """
[unit]
days = { kind = "whole", en = ["day", "days"], zh = "天" }
[[reason]]
code = "a"
role = "cause"
controllable = false
actions = []
[[reason.feature]]
name = "x_{window}"
unit = "days"
en = { text = "x {value}" }
zh = { text = "某 {value}" }
"""


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("x {value}", "x {velue}", "velue"),
        ("x {value}", "x {value", "braces"),
        ('zh = { text = "某 {value}" }', "", "no text in zh"),
        ('unit = "days"', 'unit = "weeks"', "no unit"),
        ('unit = "days"', 'unit = "days"\ncolour = 1', "colour"),
        ('unit = "days"', 'unit = "days"\nresolved = { above = 1 }', "resolved of feature"),
        ('unit = "days"', 'unit = "days"\ntrouble = { at_most = "usuel" }', "trouble of feature"),
        ('en = { text = "x {value}" }', 'en = { text = "x {value}", own = "{value}" }', "text own"),
        ('kind = "whole"', 'kind = "half"', "unit days"),
        ('role = "cause"', 'role = "guess"', "guess"),
        ("controllable = false", "controllable = true", "resolved"),
        ("[unit]", "[unit", "TOML"),
        ("[unit]", '[join]\nen = ";"\n[unit]', "join"),
    ],
)
def test_a_catalogue_that_could_not_be_told_is_refused_by_name(good, bad, told):
    assert read_catalogue(SMALL).kinds[0].code == "a"
    with pytest.raises(ConfigurationError, match=told):
        read_catalogue(SMALL.replace(good, bad))
