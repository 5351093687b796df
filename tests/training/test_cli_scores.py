"""The nightly commands as they are typed: features build, score, warnings."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from features.errors import ArtefactError, ConfigurationError
from features.workspace import Workspace
from serving.bands import Bands
from serving.score_book import list_books
from tests.forecasting import forecasting_model, two_segments
from tests.tiny_shop import TinyShop
from training.cli import feature_commands, scoring, warning_commands
from training.cli.context import CliContext

SETTINGS = """
[scores]
keep_books = 2
[warnings]
rise = 0.4
rearm_rise = 0.1
weekly_capacity = 3
"""


class Nightly:
    """The commands on one workspace; `--json` unless told otherwise."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop
        self.app = typer.Typer()
        for module in (feature_commands, scoring, warning_commands):
            module.register(self.app)

    def said(self, *words: str, as_json: bool = False) -> str:
        result = CliRunner().invoke(self.app, list(words), obj=CliContext(self.shop, None, as_json))
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def json(self, *words: str) -> dict:
        return json.loads(self.said(*words, as_json=True))


@pytest.fixture
def nightly(shop: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nightly:
    TinyShop(shop, None).release("r-one", churn=forecasting_model(), segments=two_segments())
    (shop.root / "holdfast.toml").write_text(SETTINGS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Nightly(shop)


def test_a_night_from_the_snapshot_to_the_warnings(nightly: Nightly) -> None:
    nightly.json("features", "build")
    words = ("--from-snapshot", "--reasons-for", "riskiest:0.1", "--language", "zh", "scores.parquet")
    scored = nightly.json("score", *words)
    rows = pq.read_table("scores.parquet")
    assert (scored["book"], scored["n_scored"]) == (1, rows.num_rows)
    assert 0 < scored["n_reasoned"] < rows.num_rows / 5
    assert set(rows["segment_name"].drop_null().to_pylist()) <= set(two_segments().names("zh").segment)
    texts = rows["reason_texts"].drop_null().to_pylist()
    assert any("\u4e00" <= letter <= "\u9fff" for letter in texts[0])
    warned = nightly.json("warnings")
    assert (warned["basis"], warned["given"]["n_warned"]) == ("recomputed", 3)
    assert nightly.json("warnings")["given"]["n_warned"] == 0


def test_the_commands_say_in_words_what_they_did(nightly: Nightly) -> None:
    said = nightly.said("score")
    (out,) = Path().glob("*.parquet")
    assert out.name.startswith("holdfast-churn-3_r-one_")
    assert out.name in said.replace("\n", "")
    assert "book 1 of scores is kept for the service" in said
    said = nightly.said("warnings")
    assert "against scores computed again from the log" in said
    assert "3 warned of now" in said


def test_reasons_come_with_every_score_from_the_cut_off_of_medium_up_unless_told_otherwise(nightly: Nightly) -> None:
    nightly.json("score", "scores.parquet", "--no-book")
    cuts = np.quantile(pq.read_table("scores.parquet")["churn_probability"], (0.7, 0.9))
    TinyShop(nightly.shop, None).release("r-split", churn=forecasting_model(), bands=Bands(*cuts))
    counts = {}
    for words in ((), ("--reasons-for", "all"), ("--reasons-for", "none")):
        scored = nightly.json("score", "scores.parquet", "--no-book", "--release", "r-split", *words)
        rows = pq.read_table("scores.parquet").to_pylist()
        counts[words] = (scored["n_reasoned"], sum(row["reason_codes"] is not None for row in rows))
        if not words:
            assert all((row["reason_codes"] is not None) == (row["band"] != "low") for row in rows)
            assert {row["band"] for row in rows} == {"low", "medium", "high"}
    assert counts[()][0] == counts[()][1] < len(rows)
    assert counts["--reasons-for", "all"] == (len(rows), len(rows))
    assert counts["--reasons-for", "none"] == (0, 0)


def test_books_make_room_as_set_and_the_past_writes_none(nightly: Nightly) -> None:
    instant = nightly.json("score", "a.csv")["as_of"]
    nightly.json("score", "a.csv")
    assert nightly.json("score", "a.csv", "--no-book")["book"] is None
    assert nightly.json("score", "a.csv", "--as-of", instant)["book"] is None
    assert nightly.json("score", "a.csv", "--as-of", instant, "--book")["book"] == 3
    assert [name.seq for name in list_books(nightly.shop.scores)] == [2, 3]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("score", "--from-snapshot"), ArtefactError, "features build"),
        (("score", "--from-snapshot", "--as-of", "2025-01-01T00:00:00Z"), ConfigurationError, "--as-of"),
        (("score", "--reasons-for", "everybody"), ConfigurationError, r"riskiest:0\.1"),
        (("score", "--language", "fr"), ConfigurationError, "en, zh"),
        (("warnings",), ArtefactError, "holdfast score"),
    ],
)
def test_what_cannot_be_done_is_said(nightly: Nightly, words: tuple[str, ...], error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        nightly.said(*words)
    assert list(Path().glob("*")) == []
