"""Filters over item attributes: against a plain interpreter over rows, against every text, and by hand."""

import operator
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.errors import ConfigurationError, FilterError
from serving.catalogue import Catalogue
from serving.filter_language import MAX_DEPTH, MAX_LENGTH, MAX_TERMS, AllOf, AnyOf, Comparison, Not, parse_filter
from serving.filter_masks import FilterMasks, mask_of

ROWS = [
    {"item_id": "cup", "brand": "Uno", "category": "kitchen", "price_minor": 500, "in_stock": True, "is_new": True},
    {"item_id": "pot", "brand": None, "category": "kitchen", "price_minor": None, "in_stock": False, "is_new": None},
    {"item_id": "hat", "brand": "Duo", "category": None, "price_minor": 1200, "in_stock": None, "is_new": False},
    {"item_id": "tea", "brand": 'A "B" \\', "category": "Käse", "price_minor": -3, "in_stock": True, "is_new": None},
]
KINDS = {name: pa.string() for name in ("item_id", "brand", "category")}
TYPES = pa.schema(KINDS | {"price_minor": pa.int64(), "in_stock": pa.bool_(), "is_new": pa.bool_()})
CATALOGUE = Catalogue.read(pa.Table.from_pylist(ROWS, TYPES), [row["item_id"] for row in ROWS])
IDS = np.array(CATALOGUE.item_ids)


def let_through(text):
    return " ".join(IDS[mask_of(parse_filter(text), CATALOGUE)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('brand = "Uno"', "cup"),
        ('brand != "Uno"', "hat tea"),
        ('not brand = "Uno"', "pot hat tea"),
        ('brand in ("Uno", "Duo", "nobody")', "cup hat"),
        ('brand not in ("Uno", "a", "b", "c", "d", "e")', "hat tea"),
        ('brand in ("Uno", "Duo", "a", "b", "A \\"B\\" \\\\")', "cup hat tea"),
        ("brand = 'A \"B\" \\\\'", "tea"),
        ("brand is missing", "pot"),
        ("brand is not missing", "cup hat tea"),
        ("price_minor < 500", "tea"),
        ("price_minor <= 5e2", "cup tea"),
        ("price_minor != 500", "hat tea"),
        ("price_minor in (-3, 500.0)", "cup tea"),
        ("price_minor not in (-3, .5)", "cup hat"),
        (f"price_minor in ({', '.join(map(str, range(480, 520)))})", "cup"),
        ("price_minor is missing", "pot"),
        ("in_stock = true", "cup hat tea"),
        ("in_stock != true", "pot"),
        ("in_stock is missing", ""),
        ("is_new = false", "hat"),
        ("is_new != false", "cup"),
        ("is_new is missing", "pot tea"),
        ('item_id in ("pot", "unknown")', "pot"),
        ('item_id != "pot"', "cup hat tea"),
        ('category = "Käse"', "tea"),
        ('category = "x" or brand = "y"', ""),
        ('brand = "Uno" or brand = "Duo" and price_minor < 0', "cup"),
        ('(brand = "Uno" or brand = "Duo") and price_minor > 1000', "hat"),
        ("NOT price_minor > 0 AND is_new IS MISSING", "pot tea"),
        ("`brand` = 'Duo'", "hat"),
    ],
)
def test_filters_by_hand(text, expected):
    assert let_through(text) == expected


def test_not_binds_closer_than_and_and_that_closer_than_or():
    a, b, c = (Comparison(name, "=", 1.0, at) for name, at in (("a", 5), ("b", 15), ("c", 24)))
    assert parse_filter("not a = 1 and b = 1 or c = 1").root == AnyOf((AllOf((Not(a), b)), c))


COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
WORDS = st.sampled_from(["Uno", "Duo", "kitchen", 'A "B" \\', "nothing", "", "or"])
NUMBERS = st.sampled_from([-3, 0, 499.5, 500, 1200, 1e300])
ATTRIBUTES = st.sampled_from(
    [("brand", WORDS), ("category", WORDS), ("price_minor", NUMBERS), ("is_new", st.booleans())]
)


def written(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


@st.composite
def a_test(draw):
    """A test as written, and as a plain function of a row."""
    name, values = draw(ATTRIBUTES)
    form = draw(st.sampled_from(["compare", "in", "missing"]))
    negated = draw(st.booleans())
    if form == "missing":
        return f"{name} is {'not ' if negated else ''}missing", lambda row: (row[name] is None) != negated
    if form == "in":
        wanted = draw(st.lists(values, min_size=1, max_size=20))
        text = f"{name} {'not ' if negated else ''}in ({','.join(map(written, wanted))})"
        return text, lambda row: row[name] is not None and (row[name] in wanted) != negated
    sign = draw(st.sampled_from(list(COMPARE) if name == "price_minor" else ["=", "!="]))
    value = draw(values)
    return f"{name}{sign}{written(value)}", lambda row: row[name] is not None and COMPARE[sign](row[name], value)


def combined(parts):
    several = st.lists(parts, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda p: (" and ".join(f"({t})" for t, _ in p), lambda row: all(f(row) for _, f in p))),
        several.map(lambda p: (" or ".join(f"({t})" for t, _ in p), lambda row: any(f(row) for _, f in p))),
        parts.map(lambda p: (f"not ({p[0]})", lambda row: not p[1](row))),
    )


EXPRESSIONS = st.recursive(a_test(), combined, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(expression=EXPRESSIONS)
def test_a_filter_says_what_a_plain_interpreter_over_rows_says(expression):
    text, says = expression
    expected = [bool(says(row)) for row in ROWS]
    chosen = parse_filter(text, CATALOGUE.attributes)
    assert mask_of(chosen, CATALOGUE).tolist() == expected, text
    assert mask_of(chosen, CATALOGUE, np.array([3, 0])).tolist() == [expected[3], expected[0]], text


PIECES = (
    "brand price_minor nobody = != < ( ) , and or not in is missing 'Uno' \" \\ 5 - 1e999 true ` __class__ ; ² ٣ %s {0}"
)
ODD = ["\x00", "\ud800", "\u2028", "İ", "K"]
GARBAGE = st.one_of(
    st.text("".join(map(chr, range(128))) + "".join(ODD), max_size=40),
    st.lists(st.sampled_from([*PIECES.split(), *ODD]), max_size=25).map(" ".join),
)


@settings(max_examples=200, deadline=None)
@given(text=GARBAGE)
@example("")
@example("brand")
@example('__import__("os").system("true")')
def test_any_text_is_read_or_refused_with_the_one_error(text):
    try:
        chosen = parse_filter(text, CATALOGUE.attributes)
    except FilterError as error:
        refused = (1 <= error.position <= len(text) + 1, bool(error.expected), "known attributes:" in str(error))
        assert refused == (True, True, True)
    else:
        assert mask_of(chosen, CATALOGUE).shape == (4,)


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 1, "name of an attribute"),
        ('brand "Uno"', 7, "a comparison"),
        ("brand = Uno", 9, "a text in quotes"),
        ('brand = "Uno', 9, 'a closing "'),
        ('brand = "U\\no"', 11, "behind a backslash"),
        ('brand in "Uno"', 10, "a list of values"),
        ('brand in ("Uno"', 16, '","'),
        ("brand in ()", 11, "a text in quotes"),
        ("brand is 5", 10, '"missing"'),
        ("brand not = 5", 11, '"in"'),
        ('(brand = "Uno"', 15, '")"'),
        ('brand = "Uno" brand', 15, "the end"),
        ("price_minor == 5", 14, "a number"),
        ("price_minor = 5x", 16, "end of the number"),
        ("price_minor = 1e999", 15, "can hold"),
        ("price_minor = $5", 15, "a value"),
        ("colour = 5", 1, "name of an attribute"),
        ("price_minor = '5'", 1, "a number"),
        ("brand = 5", 1, "a text in quotes"),
        ("is_new = 1", 1, "true or false"),
        ("in_stock = true and brand < 'x'", 21, "=, !=, in"),
    ],
)
def test_an_error_names_the_position_and_what_was_expected(text, position, expected):
    with pytest.raises(FilterError) as refused:
        parse_filter(text, CATALOGUE.attributes)
    assert refused.value.position == position
    assert expected in refused.value.expected


def test_an_error_repeats_nothing_that_was_submitted():
    for text in ('brand = "secret" secret', "secret = 5", 'price_minor = "secret"', "secret secret"):
        with pytest.raises(FilterError) as refused:
            parse_filter(text, CATALOGUE.attributes)
        assert "secret" not in str(refused.value)


def test_limits_of_length_depth_and_terms():
    assert let_through("(" * MAX_DEPTH + 'brand = "Uno"' + ")" * MAX_DEPTH) == "cup"
    assert let_through("not " * MAX_DEPTH + 'brand = "Uno"') == "cup"
    assert let_through(f"price_minor in ({','.join(['500'] * MAX_TERMS)})") == "cup"
    assert let_through(f"brand = 'Uno'{' ' * (MAX_LENGTH - 13)}") == "cup"
    for text, told in [
        ("(" * (MAX_DEPTH + 1) + 'brand = "Uno"' + ")" * (MAX_DEPTH + 1), "nested deeper than 32"),
        ("not " * 400 + "brand = 5", "nested deeper than 32"),
        (f"price_minor in ({','.join(['500'] * (MAX_TERMS + 1))})", "more than 200 terms"),
        (f"brand = 'Uno'{' ' * (MAX_LENGTH - 12)}", "at most 2,000"),
        ("(" * 1_000_000, "at most 2,000"),
    ]:
        with pytest.raises(FilterError, match=told):
            parse_filter(text)


@pytest.mark.parametrize("piece", ["(", "not ", '"', "brand=", "1", "\\", "brand is missing or ", "'\\'", "1e", "-"])
def test_hostile_repetition_takes_steps_in_proportion_to_its_length(piece):
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        with pytest.raises(FilterError):
            parse_filter(piece * (MAX_LENGTH // len(piece)), CATALOGUE.attributes)
    finally:
        sys.setprofile(None)
    assert calls < 20 * MAX_LENGTH


def test_a_filter_on_an_empty_catalogue_lets_nothing_through():
    empty = Catalogue.nothing_said([])
    assert mask_of(parse_filter("price_minor in (1, 2) or not item_id = 'x'"), empty).tolist() == []


def test_a_large_catalogue_is_judged_in_blocks_without_a_seam():
    n_items = 140_000
    prices = np.arange(n_items) % 977
    ids = [str(number) for number in range(n_items)]
    catalogue = Catalogue.read(pa.table({"item_id": ids, "price_minor": prices}), ids)
    wanted = [5, 400, 976]
    mask = mask_of(parse_filter("price_minor in (5, 400, 976) and item_id != '5'"), catalogue)
    expected = np.isin(prices, wanted)
    expected[5] = False
    assert np.array_equal(mask, expected)


def test_masks_that_come_again_are_kept_and_those_used_longest_ago_go_first():
    masks = FilterMasks(CATALOGUE, max_masks=2)
    first = masks.mask("brand = 'Uno'")
    assert masks.mask("brand = 'Uno'") is first
    assert not first.flags.writeable
    masks.mask("price_minor > 0")
    masks.mask("brand = 'Uno'")
    masks.mask("is_new = true")  # now the price is the one used longest ago
    assert masks.mask("brand = 'Uno'") is first
    assert len(masks) == 2
    with pytest.raises(FilterError):
        masks.mask("nonsense")
    assert len(masks) == 2


def test_masks_are_bounded_in_bytes_and_the_last_one_is_kept():
    masks = FilterMasks(CATALOGUE, max_bytes=8)  # 4 bytes a mask
    for price in range(5):
        masks.mask(f"price_minor > {price}")
    assert len(masks) == 2
    small = FilterMasks(CATALOGUE, max_bytes=1)
    assert small.mask("price_minor > 0") is small.mask("price_minor > 0")
    with pytest.raises(ConfigurationError, match="max_bytes"):
        FilterMasks(CATALOGUE, max_bytes=0)
