import tomllib

import numpy as np
import pyarrow as pa
import pytest

from features.errors import ConfigurationError
from features.importing.mapping import Mapping, Rule, TimeForm, load_mapping, shipped_mappings
from features.importing.money import exponents_of, millionths, to_minor, whole_numbers
from features.importing.rules import matches
from features.importing.times import instants
from features.instants import format_instant
from features.settings import read_settings
from features.validation import Findings

LEAST = """
name = "mine"
columns = {customer_id = "who", occurred_at = "when"}
kind = {constant = "login"}
"""


def mapping(extra: str = "", least: str = LEAST) -> Mapping:
    return read_settings(Mapping, tomllib.loads(least + extra), "mapping")


def test_four_mappings_are_shipped_and_load():
    assert shipped_mappings() == ("cdnow", "events", "online_retail_ii", "orders")
    for name in shipped_mappings():
        assert load_mapping(name).name == name


def test_a_mapping_of_your_own_is_loaded_by_path(tmp_path):
    (tmp_path / "mine.toml").write_text(LEAST)
    assert load_mapping(tmp_path / "mine.toml") == mapping()


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ("colums = 1", "colums"),
        ("[time]\nzones = 'UTC'", "mapping.time.zones"),
        ("[time]\nzone = 'London'", "London"),
        ("[money]\ncurrency = 'XYZ'", "XYZ"),
        ("[source]\nformat = 'excel'", "excel"),
        ("[source]\nencoding = 'klingon'", "encoding"),
        ("[constants]\ncolour = 'red'", "colour"),
        ("[constants]\noccurred_at = 'x'", "occurred_at"),
        ("[[drop]]\nname = 'n'\ncolumn = 'c'\noperator = 'like'\nvalue = 1", "like"),
        ("[[drop]]\nname = 'n'\ncolumn = 'c'\noperator = 'in'\nvalue = 1", "a list"),
        ("[[drop]]\nname = 'n'\ncolumn = 'c'\noperator = 'gt'\nvalue = 'x'", "a number"),
        ("[event_id]\ncolumn = 'a'\ncolumns = ['b']", "choose one"),
        ("[money]\ncurrency = 'EUR'\namount = 'a * b * c'", "A * B"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(extra, word):
    with pytest.raises(ConfigurationError, match=word.replace("*", r"\*")):
        mapping(extra).source_columns()


def test_an_unknown_mapping_is_told_the_shipped_ones():
    with pytest.raises(ConfigurationError, match="online_retail_ii"):
        load_mapping("online_retale")


@pytest.mark.parametrize(
    ("text", "cents"),
    [("2.55", 255), ("0.005", 0), ("0.015", 2), ("0.025", 2), ("2.675", 268), ("1e2", 10000), ("-3", -300), (".5", 50),
     ("123456789012.34", 12345678901234), ("0.0050000001", 0), ("2.5500000000000003", 255)],
)  # fmt: skip
def test_decimal_text_becomes_cents_exactly_and_half_goes_to_even(text, cents):
    findings = Findings(2)
    values, there = millionths(pa.array([text, None]), "amount", findings)
    minor = to_minor(values, None, np.array([2, 2]), "amount", findings)
    assert minor.tolist() == [cents, 0]
    assert there.tolist() == [True, False]
    assert not findings.counts()


def test_floats_are_read_as_the_decimals_that_people_wrote():
    prices = [0.1, 2.675, 1.005, 0.29, 1e9 + 0.01]
    values, _ = millionths(pa.array(prices), "amount", Findings(5))
    assert values.tolist() == [100_000, 2_675_000, 1_005_000, 290_000, 1_000_000_000_010_000]


def test_a_count_beyond_int64_is_a_finding_and_not_a_crash():
    findings = Findings(2)
    values, there = whole_numbers(pa.array([2**63, 3], pa.uint64()), "quantity", findings)
    assert (values.tolist(), there.tolist()) == ([0, 3], [True, True])
    assert findings.counts() == {("quantity", "is larger than 10**12"): 1}


@pytest.mark.parametrize("text", ["", "abc", "1,000", "NaN", "inf", "0x10", "1 2"])
def test_what_is_no_number_is_a_finding(text):
    findings = Findings(2)
    _, there = millionths(pa.array([text, "1"]), "amount", findings)
    assert there.tolist() == [False, True]
    assert findings.counts() == {("amount", "is not a number"): 1}


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1000000000000"]),
        pa.array([1e12]),
        pa.array([10**12]),
        pa.array([2**62]),
        pa.array([2**63], pa.uint64()),
        pa.array(["1e300"]),
    ],
)
def test_a_sum_beyond_the_limit_is_a_finding_whatever_its_type(column):
    findings = Findings(1)
    millionths(column, "amount", findings)
    assert findings.counts() == {("amount", "is larger than 10**12"): 1}


def test_a_product_that_would_overflow_is_a_finding():
    findings = Findings(1)
    to_minor(np.array([10**17]), np.array([1000]), np.array([2]), "amount", findings)
    assert findings.counts() == {("amount", "is larger than 10**12"): 1}


def test_each_currency_has_its_own_minor_unit():
    findings = Findings(4)
    places = exponents_of(pa.array(["EUR", "JPY", "KWD", "QQQ"]), findings)
    assert places.tolist() == [2, 0, 3, 2]
    assert findings.counts() == {("currency", "is not a currency of ISO-4217"): 1}
    minor = to_minor(np.full(3, 1_500_000), None, places[:3], "amount", Findings(3))
    assert minor.tolist() == [150, 2, 1500]  # 1.5 yen: half to even


def test_whole_numbers_may_be_written_with_a_point_but_not_be_broken():
    findings = Findings(4)
    values, there = whole_numbers(pa.array(["3", "4.0", "4.5", None]), "quantity", findings)
    assert values.tolist()[:2] == [3, 4]
    assert there.tolist() == [True, True, True, False]
    assert findings.counts() == {("quantity", "is not a whole number"): 1}


def read_times(texts, form):
    findings = Findings(len(texts))
    read = instants(pa.array(texts, pa.string()), form, "occurred_at", findings).cast(pa.int64()).to_pylist()
    return [None if one is None else format_instant(one) for one in read], findings.counts()


def test_times_with_an_offset_need_no_zone_and_naive_ones_are_refused():
    texts = [
        "2010-12-01T08:26:00+01:00",
        "2010-12-01 08:26:00.5Z",
        "2010-12-01T08:26:00",
        "2010-02-30T00:00:00Z",
        None,
        "soon",
    ]
    read, found = read_times(texts, TimeForm())
    assert read == ["2010-12-01T07:26:00Z", "2010-12-01T08:26:00.500000Z", None, None, None, None]
    assert {reason.split(";")[0]: n for (_, reason), n in found.items()} == {
        "has no offset": 1,
        "is not a time of the mapping's format": 2,
    }


def test_local_times_are_read_in_their_zone():
    # Summer time in London is UTC+1; a date alone is the start of its day.
    texts = ["2010-07-01 12:00:00", "2010-12-01T12:00", "2010-07-01", "2010-07-01T12:00:00Z"]
    read, found = read_times(texts, TimeForm(zone="Europe/London"))
    assert read == ["2010-07-01T11:00:00Z", "2010-12-01T12:00:00Z", "2010-06-30T23:00:00Z", "2010-07-01T12:00:00Z"]
    assert not found


def test_a_time_that_came_twice_is_the_first_and_one_that_never_came_is_the_change():
    # London 2010: clocks went back on 31 October at 01:00Z and forward on 28 March at 01:00Z.
    read, _ = read_times(["2010-10-31 01:30:00", "2010-03-28 01:30:00"], TimeForm(zone="Europe/London"))
    assert read == ["2010-10-31T00:30:00Z", "2010-03-28T01:00:00Z"]


def test_other_formats_of_time():
    assert read_times(["19970101", "x"], TimeForm("%Y%m%d", "America/New_York"))[0] == ["1997-01-01T05:00:00Z", None]
    assert read_times(["86400", "1e99"], TimeForm("unix_s"))[0][0] == "1970-01-02T00:00:00Z"
    assert read_times(["86400000"], TimeForm("unix_ms"))[0] == ["1970-01-02T00:00:00Z"]
    assert read_times(["01/02/2010 10:00 +0100"], TimeForm("%d/%m/%Y %H:%M %z"))[0] == ["2010-02-01T09:00:00Z"]


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("equals", "C1", [True, False, False, False]),
        ("not_equals", "C1", [False, True, True, False]),
        ("in", ["C1", 7], [True, True, False, False]),
        ("not_in", ["C1", 7], [False, False, True, False]),
        ("starts_with", "C", [True, False, False, False]),
        ("matches", "^[0-9]", [False, True, True, False]),
        ("lt", 7.5, [False, True, False, False]),
        ("at_most", 7, [False, True, False, False]),
        ("gt", 7, [False, False, True, False]),
        ("at_least", 7, [False, True, True, False]),
        ("is_null", None, [False, False, False, True]),
        ("not_null", None, [True, True, True, False]),
    ],
)
def test_rules(operator, value, expected):
    assert matches(pa.array(["C1", "7", "8", None]), Rule("r", "c", operator, value)).tolist() == expected
