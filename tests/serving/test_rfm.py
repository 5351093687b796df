import numpy as np
import pytest

from features.errors import ArtefactError
from serving.rfm import RFM_CELLS, RfmScale
from tests.segment_tables import NEVER_ORDERED, table_of

SCALE = RfmScale(
    np.array([10.0, 20.0, 40.0, 80.0]), np.array([2.0, 4.0, 6.0, 8.0]), np.array([100.0, 200.0, 400.0, 800.0])
)


def customer(recency, orders, spend):
    return {"orders_recency_days": recency, "orders_count_365d": orders, "spend_minor_365d": spend}


def test_a_value_on_a_cut_lies_above_it():
    found = SCALE.of(table_of(customer(9.9, 8, 800), customer(10, 7, 799), customer(80, 1, 0)))

    assert found.recency.tolist() == [5, 4, 1]
    assert found.frequency.tolist() == [5, 4, 1]
    assert found.money.tolist() == [5, 4, 1]


@pytest.mark.parametrize(
    ("recency", "orders", "spend", "cell"),
    [
        (5, 9, 900, "champions"),  # fifths 5, 5, 5
        (15, 4, 500, "loyal"),  # 4; 3 and 4 make 3.5, rounded up 4
        (5, 1, 150, "promising"),  # 5; 1 and 2 make 1.5, rounded up 2
        (30, 4, 200, "needs_attention"),  # 3; 3 and 3
        (50, 1, 50, "about_to_sleep"),  # 2; 1 and 1
        (50, 6, 400, "at_risk"),  # 2; 4 and 4
        (90, 9, 900, "cannot_lose"),  # 1; 5 and 5
        (90, 1, 50, "lost"),  # 1; 1 and 1
    ],
)
def test_cells_follow_recency_and_the_mean_of_frequency_and_money(recency, orders, spend, cell):
    found = SCALE.of(table_of(customer(recency, orders, spend)))

    assert RFM_CELLS[found.cell[0]] == cell


def test_who_never_ordered_has_no_fifths():
    found = SCALE.of(table_of(NEVER_ORDERED))

    assert [part.tolist() for part in (found.recency, found.frequency, found.money, found.cell)] == [[0]] * 4


def test_equal_customers_stay_together_where_cuts_coincide():
    scale = RfmScale(SCALE.recency_days.copy(), np.array([1.0, 1.0, 1.0, 2.0]), SCALE.spend_minor_365d.copy())

    found = scale.of(table_of(customer(5, 1, 0), customer(5, 2, 0)))

    assert found.frequency.tolist() == [4, 5]


@pytest.mark.parametrize("cuts", [[1.0, 2.0, 3.0], [1.0, 2.0, 2.0, np.nan], [4.0, 3.0, 2.0, 1.0]])
def test_cuts_that_are_no_scale_are_refused(cuts):
    with pytest.raises(ArtefactError, match="four finite cuts"):
        RfmScale(np.array(cuts), SCALE.orders_365d.copy(), SCALE.spend_minor_365d.copy())
