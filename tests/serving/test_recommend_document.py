"""docs/recommend.md says what is so: its recipe and its filters are read as written, its error is the real one."""

import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from features.errors import FilterError
from features.settings import read_settings
from serving.catalogue import Catalogue
from serving.filter_language import parse_filter
from serving.recipe import Recipe

TEXT = (Path(__file__).parents[2] / "docs" / "recommend.md").read_text(encoding="utf-8")
WIDE = Catalogue.read(pa.table({"item_id": ["a"], "fabric type": ["linen"]}), ["a"])


def test_the_recipe_is_read_as_written():
    (written,) = re.findall(r"```toml\n(k = .*?)```", TEXT, re.DOTALL)
    recipe = read_settings(Recipe, {"name": "example", **tomllib.loads(written)})
    assert recipe.rules.boosts[0].factor == 1.5
    assert recipe.objective.leaving.retention == 0.5


def test_the_filters_of_the_table_are_read_as_written():
    rows = TEXT.split("| write | for |")[1].split("\n\n")[0]
    found = [text for text in re.findall(r"(?:`` (.+?) ``|`([^`]+)`)", rows) for text in text if " " in text]
    for text in found:
        if text != "( )":
            parse_filter(text, WIDE.attributes)
    assert len(found) >= 9


def test_the_error_is_the_real_one():
    (quoted,) = re.findall(r"`(the filter cannot be read.*?)`", TEXT, re.DOTALL)
    with pytest.raises(FilterError) as refused:
        parse_filter("price_minor =")
    assert str(refused.value) == " ".join(quoted.split())
