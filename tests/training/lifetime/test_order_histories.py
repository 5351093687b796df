import numpy as np
import pytest

from features.errors import DataError, NotEnoughDataError
from training.lifetime.order_histories import OrderHistories


def histories(rows, last_day):
    customers, days = np.array(rows).T
    return OrderHistories.from_order_days(customers, days, last_day)


def test_the_published_first_customer_of_cdnow():
    # orders on day 0, 17 and 213 of 1997; day 272 is the 30th of September
    found = histories([(4, 0), (4, 213), (4, 17)], 272)
    assert (found.frequency[0], round(found.recency[0], 2), round(found.age[0], 2)) == (2, 30.43, 38.86)
    assert found.gaps.tolist() == [17 / 7, 28.0]
    assert found.silence[0] == pytest.approx(59 / 7)


def test_orders_of_one_day_are_one():
    assert histories([(1, 3), (1, 3), (1, 10)], 10).frequency.tolist() == [1]


def test_what_comes_after_the_last_day_is_not_seen():
    found = histories([(1, 3), (1, 10), (1, 11), (2, 11)], 10)
    assert found.customers.tolist() == [1]
    assert found.frequency.tolist() == [1]


def test_gaps_stay_with_their_customers():
    found = histories([(9, 0), (2, 7), (9, 14), (2, 8), (2, 15), (5, 1)], 21)
    assert found.customers.tolist() == [2, 5, 9]
    assert found.frequency.tolist() == [2, 0, 1]
    assert found.sum_over_gaps(found.gaps).tolist() == found.recency.tolist() == [8 / 7, 0.0, 2.0]


def test_no_order_and_unequal_columns_are_refused():
    with pytest.raises(NotEnoughDataError, match="none of 1 orders is as early as day 3"):
        histories([(1, 4)], 3)
    with pytest.raises(DataError, match="2 customers and 1 days"):
        OrderHistories.from_order_days(np.array([1, 2]), np.array([3]), 9)
