"""The alarm for columns that tell the outcome keeps silent on honest real data, and cries when one is put in."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from features.churn_features import CHURN_FEATURES
from features.workspace import Workspace
from tests.shop_commands import holdfast
from training.churn_problem import load_problem
from training.churn_settings import ChurnSettings
from training.cutoffs import rolling_cutoffs
from training.jobs import read_log
from training.labels import VALUE_DAYS
from training.leakage import find_leaks
from training.training_set import TrainingSet, build_training_set

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not DATA.is_dir(), reason="there is no ../shared/data on this machine"),
]


def telco() -> pa.Table:
    table = pa_csv.read_csv(DATA / "telco-churn" / "Telco-Customer-Churn.csv.gz")
    return table.set_column(table.column_names.index("Churn"), "churn", pc.equal(table["Churn"], "Yes"))


def sparkify() -> pa.Table:
    return pq.read_table(DATA / "sparkify" / "train.parquet")


def labelled_rows(table: pa.Table, id_column: str) -> TrainingSet:
    """A table as training rows: texts as codes in alphabetical order, the id left out."""
    table = table.drop_columns([id_column])
    labels = table["churn"].cast("int64").to_numpy() == 1
    names = tuple(name for name in table.column_names if name != "churn")
    n = labels.size
    return TrainingSet(
        names,
        "of a table",
        np.column_stack([codes(table[name]) for name in names]),
        labels,
        np.arange(n),
        np.zeros(n, np.int64),
        np.ones(n),
        np.where(labels, np.nan, np.inf),
        np.full((n, len(VALUE_DAYS)), np.nan),
    )


def codes(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type):
        texts = column.unique().drop_null().to_pylist()
        column = pc.index_in(column, pa.array(sorted(texts)), skip_nulls=True)
    return column.cast(pa.float64()).to_numpy()


TABLES = {"telco": (telco, "customerID"), "sparkify": (sparkify, "userId")}


@pytest.mark.parametrize("name", TABLES)
def test_an_honest_table_raises_no_alarm_and_a_copy_of_its_label_does(name):
    read, id_column = TABLES[name]
    rows = labelled_rows(read(), id_column)
    assert find_leaks(rows, 1) == ()
    rows.values[:, 4] = np.where(rows.labels, 2.0, 1.0)
    assert [leak.column for leak in find_leaks(rows, 1)] == [rows.feature_names[4]]


@pytest.mark.parametrize("question", ["silence", "cycle"])
@pytest.mark.parametrize(
    ("source", "mapping"),
    [("cdnow/CDNOW_sample.txt", "cdnow"), ("online-retail/online_retail_II_2009_2010.parquet", "online_retail_ii")],
)
def test_a_real_shop_raises_no_alarm(source, mapping, question, tmp_path):
    holdfast(tmp_path, "import", str(DATA / source), "--mapping", mapping)
    data = read_log(Workspace(tmp_path))
    settings = ChurnSettings(problem=load_problem(question))
    cutoffs = rolling_cutoffs(data.first_us, data.end_us, settings)
    rows = build_training_set(data.view, CHURN_FEATURES, cutoffs, settings, observed_until_us=data.end_us)
    assert find_leaks(rows, 1) == ()
