"""The description of a table's columns, which travels with the model."""

import json

import pytest

from features.errors import ArtefactError
from features.table_features import LeftOut, TableColumn, TableFeatures

COLUMNS = (TableColumn("age", "number"), TableColumn("plan", "category", ("a", "b")), TableColumn("since", "date"))
FEATURES = TableFeatures("id", "Churn", "Yes", COLUMNS, (LeftOut("name", "another text in every row"),))


def test_description_comes_back_from_json_as_it_was():
    written = json.loads(json.dumps(FEATURES.to_manifest()))
    assert TableFeatures.from_manifest(written) == FEATURES
    assert TableFeatures.from_manifest(written).fingerprint() == FEATURES.fingerprint()


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS[:2],
        (COLUMNS[1], COLUMNS[0], COLUMNS[2]),
        (COLUMNS[0], TableColumn("plan", "category", ("a", "c")), COLUMNS[2]),
    ],
)
def test_fingerprint_tells_what_would_be_read_otherwise(columns):
    assert TableFeatures("id", "Churn", "Yes", columns).fingerprint() != FEATURES.fingerprint()


def test_fingerprint_does_not_move_with_what_is_not_read():
    assert TableFeatures("id", "left", "1", COLUMNS).fingerprint() == FEATURES.fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"input": "events"},
        {"columns": "age"},
        {"columns": []},
        {"columns": [{"name": "age", "kind": "colour", "categories": []}]},
        {"columns": [{"name": "age", "kind": "category", "categories": []}]},
        {"columns": [{"name": "age", "kind": "number", "categories": [1]}]},
        {"id_column": None},
        {"left_out": [{"name": "x"}]},
    ],
)
def test_altered_description_is_refused(change):
    with pytest.raises(ArtefactError):
        TableFeatures.from_manifest({**FEATURES.to_manifest(), **change})


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ArtefactError, match="named once"):
        TableFeatures("id", "Churn", "Yes", (COLUMNS[0], COLUMNS[0]))
