import numpy as np
import pyarrow as pa

from features.schema import CUSTOMERS
from features.tables import upsert
from training.customer_traits import read_traits

KEYS = np.array(["k1", "k2", "k3"], dtype=object)


def test_traits_stand_in_the_order_of_the_customers_and_are_none_where_unknown(tmp_path):
    rows = pa.table(
        {
            "customer_key": ["k3", "k1", "k9"],
            "signed_up_at": pa.array([None] * 3, CUSTOMERS.arrow.field("signed_up_at").type),
            "country": ["FR", "DE", "PL"],
            "segment": pa.array([None] * 3, pa.string()),
        }
    )
    upsert(tmp_path / "customers", CUSTOMERS, rows)
    found = read_traits(tmp_path / "customers", KEYS)
    assert {name: texts.tolist() for name, texts in found.items()} == {"country": ["DE", None, "FR"]}


def test_a_shop_without_a_customer_table_has_no_traits(tmp_path):
    assert read_traits(tmp_path / "customers", KEYS) == {}
