import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ConfigurationError, DataError
from features.importing import readers
from features.importing.mapping import Source
from features.importing.readers import read_source


def read(path, source=None, wanted=("a", "b")):
    """All rows as {number: values}, and all broken rows as {number: (reason, text)}."""
    good, broken = {}, {}
    for batch in read_source(path, source or Source(), wanted):
        for number, row in zip(batch.numbers.tolist(), batch.rows.to_pylist(), strict=True):
            good[number] = tuple(row.values())
        broken |= {row.number: (row.reason, row.text) for row in batch.broken}
        assert batch.n_read == batch.rows.num_rows + len(batch.broken)
    return good, broken


@pytest.fixture(params=["one block", "tiny blocks"])
def _blocks(request, monkeypatch):
    if request.param == "tiny blocks":
        monkeypatch.setattr(readers, "_BLOCK_BYTES", 7)


@pytest.mark.usefixtures("_blocks")
def test_csv_values_come_as_text_and_empty_ones_as_null(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n001,2.50\n"x, y",\n')
    assert read(tmp_path / "x.csv") == ({1: ("001", "2.50"), 2: ("x, y", None)}, {})


@pytest.mark.usefixtures("_blocks")
def test_lines_of_the_wrong_width_are_handed_on_with_their_number(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"a,b\r\n1,2\r\n3\r\n\r\n4,5,6\r\n7,8\r\n")
    good, broken = read(tmp_path / "x.csv")
    assert good == {1: ("1", "2"), 4: ("7", "8")}
    assert broken == {2: ("has 1 columns, not 2", "3"), 3: ("has 3 columns, not 2", "4,5,6")}


@pytest.mark.usefixtures("_blocks")
def test_a_quote_that_is_never_closed_takes_no_other_line_with_it(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n1,"open\n2,3\n4,12" record\n5,"open, too\n6,7')
    good, broken = read(tmp_path / "x.csv")
    assert good == {2: ("2", "3"), 3: ("4", '12" record'), 5: ("6", "7")}
    assert sorted(broken) == [1, 4]
    assert "source.multiline" in broken[1][0]
    assert broken[1][1] == '1,"open'


@pytest.mark.usefixtures("_blocks")
def test_values_may_span_lines_where_the_mapping_says_so(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n1,"two\nlines, ""and"" more"\n2,3\n')
    assert read(tmp_path / "x.csv", Source(multiline=True)) == ({1: ("1", 'two\nlines, "and" more'), 2: ("2", "3")}, {})


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_compressed_files_read_the_same(tmp_path, ending):
    content = b"a,b\n1,2\n"
    path = tmp_path / f"x.csv{ending}"
    if ending == ".gz":
        path.write_bytes(gzip.compress(content))
    elif ending == ".zst":
        path.write_bytes(pa.compress(content, codec="zstd", asbytes=True))
    else:
        path.write_bytes(content)
    assert read(path) == ({1: ("1", "2")}, {})


def test_a_file_without_a_header_a_bom_and_another_delimiter(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf1;2\n")
    assert read(tmp_path / "x.csv", Source(delimiter=";", columns=("a", "b"))) == ({1: ("1", "2")}, {})


def test_another_encoding_is_read_when_named_and_a_clear_error_when_not(tmp_path):
    (tmp_path / "x.csv").write_bytes("a,b\nGröße,1\n".encode("latin-1"))
    assert read(tmp_path / "x.csv", Source(encoding="latin-1"))[0] == {1: ("Größe", "1")}
    with pytest.raises(DataError, match=r"source\.encoding"):
        read(tmp_path / "x.csv")


def test_a_truncated_gz_is_a_clear_error(tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)[:-20])
    with pytest.raises(DataError, match="damaged"):
        read(tmp_path / "x.csv.gz")


def test_something_else_named_parquet_is_a_clear_error(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"hello")
    with pytest.raises(DataError, match="parquet"):
        read(tmp_path / "x.parquet")


def test_an_absent_file_or_unknown_ending_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.csv"):
        read(tmp_path / "nowhere.csv")
    (tmp_path / "x.xlsx").write_text("")
    with pytest.raises(ConfigurationError, match=r"source\.format"):
        read(tmp_path / "x.xlsx")


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="'a'"):
        read(tmp_path / "x.csv")


@pytest.mark.usefixtures("_blocks")
def test_json_lines_keep_numbers_as_written_and_hand_on_what_is_no_object(tmp_path):
    lines = ['{"a": 1.10, "b": "x"}', '{"b": true, "other": 1}', "", "{oops", "[1]", '{"a": null, "b": [1, 2]}']
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    good, broken = read(tmp_path / "x.jsonl")
    assert good == {1: ("1.10", "x"), 2: (None, "true"), 5: (None, '["1", "2"]')}
    assert broken == {3: ("is not JSON", "{oops"), 4: ("is not a JSON object", "[1]")}


def test_a_json_line_with_half_a_character_is_handed_on(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": "\\ud800"}\n' + json.dumps({"a": "😀"}))
    good, broken = read(tmp_path / "x.jsonl")
    assert good == {2: ("😀", None)}
    assert list(broken) == [1]


def test_whitespace_separated_text(tmp_path):
    (tmp_path / "x.txt").write_bytes(b" 1   2\r\n 3\r\n 4  5\r\n")
    good, broken = read(tmp_path / "x.txt", Source(format="whitespace", columns=("a", "b")))
    assert good == {1: ("1", "2"), 3: ("4", "5")}
    assert broken == {2: ("has 1 columns, not 2", " 3")}
    with pytest.raises(ConfigurationError, match=r"source\.columns"):
        read(tmp_path / "x.txt")


def test_parquet_keeps_its_types_and_text_is_of_one_type(tmp_path):
    rows = pa.table({"a": pa.array(["x"], pa.large_string()).dictionary_encode(), "b": pa.array([1.5])})
    pq.write_table(rows, tmp_path / "x.parquet")
    (batch,) = read_source(tmp_path / "x.parquet", Source(), ())
    assert batch.rows.schema.types == [pa.string(), pa.float64()]


def test_an_empty_file_with_a_header_has_no_rows_and_one_without_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n")
    assert read(tmp_path / "x.csv") == ({}, {})
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(DataError, match="header"):
        read(tmp_path / "x.csv")
