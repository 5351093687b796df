"""A table of customers is read, understood and turned into values; what cannot be used is named, and nobody's data."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ConfigurationError, DataError
from features.instants import DAY_US
from features.labelled_table import TableForm, encode, infer_features, read_labelled_table

FORM = TableForm("id", "Churn")
AS_OF_US = 20_000 * DAY_US  # 2024-10-04


def table_of(n=40, **columns):
    """n customers c0, c1, ..., every fourth of them churned; a number, and the columns given."""
    given = {
        "id": [f"c{i}" for i in range(n)],
        "age": [str(20 + i % 7) for i in range(n)],
        "Churn": ["Yes" if i % 4 == 0 else "No" for i in range(n)],
    }
    return {**given, **columns}


def written(tmp_path, columns, name="customers.csv", delimiter=","):
    path = tmp_path / name
    lines = [delimiter.join(columns), *(delimiter.join(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def understood(tmp_path, columns, form=FORM):
    table = read_labelled_table(written(tmp_path, columns), form)
    return table, infer_features(table, form)


def kinds(features):
    return {column.name: column.kind for column in features.columns}


def why(features, name):
    return next(one.why for one in features.left_out if one.name == name)


def test_each_column_is_told_by_what_it_holds(tmp_path):
    n = 40
    columns = table_of(
        n,
        charges=[f"{i / 2}" for i in range(n)],
        partner=["Yes", "No"] * (n // 2),
        contract=["Month-to-month", "One year"] * (n // 2),
        since=[f"2024-09-{1 + i % 28:02d}" for i in range(n)],
    )
    _, features = understood(tmp_path, columns)
    assert kinds(features) == {
        "age": "number",
        "charges": "number",
        "partner": "flag",
        "contract": "category",
        "since": "date",
    }
    assert features.names == ("age", "charges", "partner", "contract", "since (days ago)")
    assert features.categories == {"partner": ("no", "yes"), "contract": ("Month-to-month", "One year")}


def test_values_are_numbers_codes_and_days_before_the_scoring(tmp_path):
    n = 40
    columns = table_of(
        n, partner=["Yes", "No"] * 20, contract=["b", "a"] * 20, since=["2024-10-01"] * 39 + ["2024-09-04"]
    )
    table, features = understood(tmp_path, columns)
    found = encode(table, features, AS_OF_US)
    assert features.names == ("age", "partner", "contract", "since (days ago)")
    assert found.values[0].tolist() == [20.0, 1.0, 1.0, 3.0]  # the texts of a category are sorted: b is 1
    assert found.values[39].tolist() == [24.0, 0.0, 0.0, 30.0]  # 20 + 39 % 7; 30 days from 4 September to 4 October
    assert not found.unseen.any()


def test_blank_in_a_column_of_numbers_is_missing(tmp_path):
    columns = table_of(40, charges=[" "] + [str(i) for i in range(39)])
    table, features = understood(tmp_path, columns)
    assert kinds(features)["charges"] == "number"
    found = encode(table, features, AS_OF_US)
    assert math.isnan(found.values[0, 1])
    assert not found.unseen[0, 1]  # a blank is no value, so none that was not understood


def test_word_among_numbers_is_missing_and_told_of(tmp_path):
    columns = table_of(40, charges=["many"] + [str(i) for i in range(39)])
    table, features = understood(tmp_path, columns)
    found = encode(table, features, AS_OF_US)
    assert math.isnan(found.values[0, 1])
    assert found.unseen[0, 1]


@pytest.mark.parametrize(
    ("column", "word"),
    [
        (["x"] * 40, "constant"),
        ([""] * 40, "empty"),
        ([f"c{i}" for i in range(40)], "equal to the customer id"),
        ([f"word {i}" for i in range(40)], "another text in every row"),
        ([str(1_000 + i) for i in range(40)], "another whole number in every row"),
        ([f"t{i // 2}" for i in range(40)], "stand in fewer than 5 rows"),
    ],
)
def test_column_that_tells_nothing_is_left_out_with_a_word(tmp_path, column, word):
    _, features = understood(tmp_path, table_of(40, odd=column))
    assert word in why(features, "odd")
    assert "odd" not in kinds(features)


def test_many_different_texts_are_no_category(tmp_path):
    n = 1_500
    _, features = understood(tmp_path, table_of(n, town=[f"t{i % 250}" for i in range(n)]))
    assert "250 different values" in why(features, "town")


def test_paid_is_not_taken_for_an_id_by_the_end_of_its_name(tmp_path):
    _, features = understood(tmp_path, table_of(40, paid=[str(i * i) for i in range(40)]))
    assert kinds(features)["paid"] == "number"


def test_rare_text_is_no_category_of_its_own(tmp_path):
    columns = table_of(40, plan=["a"] * 20 + ["b"] * 18 + ["rare", "rare"])
    table, features = understood(tmp_path, columns)
    assert features.categories == {"plan": ("a", "b")}
    assert math.isnan(encode(table, features, AS_OF_US).values[39, 1])


def test_category_unseen_in_training_is_missing_and_told_of(tmp_path):
    columns = table_of(40, plan=["a", "b"] * 20)
    _, features = understood(tmp_path, columns)
    columns["plan"][3] = "c"
    later = read_labelled_table(written(tmp_path, columns), TableForm("id"))
    found = encode(later, features, AS_OF_US)
    assert math.isnan(found.values[3, 1])
    assert np.flatnonzero(found.unseen[:, 1]).tolist() == [3]


def test_column_of_another_kind_at_scoring_is_refused_by_name(tmp_path):
    _, features = understood(tmp_path, table_of(40, plan=["a", "b"] * 20))
    wrong = table_of(40, plan=["1", "2"] * 20)
    later = read_labelled_table(written(tmp_path, wrong), TableForm("id"))
    with pytest.raises(DataError, match="column plan was one of 2: a, b in training; 40 of the 40 values"):
        encode(later, features, AS_OF_US)


def test_column_absent_at_scoring_is_named(tmp_path):
    _, features = understood(tmp_path, table_of(40, plan=["a", "b"] * 20))
    later = read_labelled_table(written(tmp_path, table_of(40)), TableForm("id"))
    with pytest.raises(DataError, match="lacks 1 columns that the model reads: plan"):
        encode(later, features, AS_OF_US)


def test_label_column_that_is_not_there_names_those_that_look_like_it(tmp_path):
    path = written(tmp_path, {**table_of(40), "Churned": ["Yes", "No"] * 20})
    with pytest.raises(ConfigurationError, match="no label column churn_flag; these look like it: Churn, Churned"):
        read_labelled_table(path, TableForm("id", "churn_flag"))


def test_id_column_that_is_not_there_names_those_with_a_value_of_their_own(tmp_path):
    path = written(tmp_path, table_of(40))
    with pytest.raises(ConfigurationError, match="no id column customer; these look like it: id"):
        read_labelled_table(path, TableForm("customer", "Churn"))


def test_repeated_ids_are_counted_and_none_is_told(tmp_path):
    columns = table_of(40)
    columns["id"][7] = columns["id"][2]
    with pytest.raises(
        DataError, match=r"1 customer ids of customers[.]csv stand in 2 rows, the first in row 3"
    ) as said:
        read_labelled_table(written(tmp_path, columns), FORM)
    assert "c2" not in str(said.value)


def test_row_without_an_id_is_left_out_and_counted(tmp_path):
    columns = table_of(40)
    columns["id"][5] = ""
    table = read_labelled_table(written(tmp_path, columns), FORM)
    assert len(table) == 39
    assert table.notes == ("1 rows have no customer id and were left out",)


def test_row_without_a_label_is_kept_for_scoring(tmp_path):
    columns = table_of(40)
    columns["Churn"][1] = ""
    table = read_labelled_table(written(tmp_path, columns), FORM)
    assert table.labels[:3].tolist() == [1, -1, 0]
    assert "1 rows have no label" in table.notes[0]


@pytest.mark.parametrize(
    ("churned", "stayed"),
    [("1", "0"), ("true", "FALSE"), ("Churned", "Stayed"), ("Attrited Customer", "Existing Customer")],
)
def test_label_is_read_in_the_words_that_people_use(tmp_path, churned, stayed):
    columns = table_of(40) | {"Churn": [churned, stayed] * 20}
    table = read_labelled_table(written(tmp_path, columns), FORM)
    assert table.labels.tolist() == [1, 0] * 20
    assert table.churned_value == churned


def test_label_in_words_of_its_own_needs_the_churned_value(tmp_path):
    columns = table_of(40) | {"Churn": ["weg", "da"] * 20}
    with pytest.raises(DataError, match=r"column Churn holds weg, da; name the value .* --churned-value"):
        read_labelled_table(written(tmp_path, columns), FORM)
    table = read_labelled_table(written(tmp_path, columns), TableForm("id", "Churn", churned_value="Weg"))
    assert table.labels.tolist() == [1, 0] * 20


def test_churned_value_that_no_row_has_is_refused(tmp_path):
    with pytest.raises(DataError, match="no row of column Churn has the label that was named as churned"):
        read_labelled_table(written(tmp_path, table_of(40)), TableForm("id", "Churn", churned_value="gone"))


def test_one_outcome_only_is_refused_with_both_counts(tmp_path):
    columns = table_of(40) | {"Churn": ["No"] * 40}
    with pytest.raises(DataError, match="one outcome only: 0 rows churned and 40 stayed"):
        read_labelled_table(written(tmp_path, columns), FORM)


def test_header_alone_is_no_table(tmp_path):
    path = tmp_path / "customers.csv"
    path.write_text("id,age,Churn\n")
    with pytest.raises(DataError, match="0 rows of customers"):
        read_labelled_table(path, FORM)


def test_table_without_a_column_to_learn_from_says_why(tmp_path):
    columns = {name: cells for name, cells in table_of(40, odd=["x"] * 40).items() if name != "age"}
    with pytest.raises(DataError, match="odd: constant"):
        understood(tmp_path, columns)


def test_parquet_keeps_its_own_types(tmp_path):
    n = 40
    given = table_of(n)
    path = tmp_path / "customers.parquet"
    rows = pa.table(
        {
            "id": pa.array(range(n)),
            "spend": pa.array([i / 3 for i in range(n)]),
            "active": pa.array([i % 2 == 0 for i in range(n)]),
            "since": pa.array([19_990 * DAY_US] * (n - 1) + [None], pa.timestamp("us", tz="UTC")),
            "tags": pa.array([["a"]] * n),
            "Churn": pa.array([label == "Yes" for label in given["Churn"]]),
        }
    )
    pq.write_table(rows, path)
    table = read_labelled_table(path, FORM)
    features = infer_features(table, FORM)
    assert kinds(features) == {"spend": "number", "active": "flag", "since": "date"}
    assert "lists" in why(features, "tags")
    found = encode(table, features, AS_OF_US)
    assert found.values[0].tolist() == [0.0, 1.0, 10.0]
    assert table.customer_ids[1].as_py() == "1"
    assert (table.churned_value, table.labels[:2].tolist()) == ("1", [1, 0])


def test_ignored_column_is_not_learnt_from(tmp_path):
    _, features = understood(tmp_path, table_of(40, odd=["a", "b"] * 20), TableForm("id", "Churn", ignored=("odd",)))
    assert kinds(features) == {"age": "number"}


def test_semicolons_and_another_encoding_are_read_when_named(tmp_path):
    path = tmp_path / "customers.csv"
    rows = ["id;Ort;Churn", *(f"c{i};{'Köln' if i % 2 else 'Bonn'};{'Ja' if i % 3 else 'Nein'}" for i in range(40))]
    path.write_bytes("\n".join(rows).encode("cp1252"))
    form = TableForm("id", "Churn", churned_value="Ja", delimiter=";", encoding="cp1252")
    features = infer_features(read_labelled_table(path, form), form)
    assert features.categories == {"Ort": ("Bonn", "Köln")}
