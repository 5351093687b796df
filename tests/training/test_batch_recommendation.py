"""Slates of everybody in one file, and customers for an item, beside what the recommender says of each alone."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from features.errors import ConfigurationError, DataError, FilterError
from features.instants import parse_instant
from features.tables import IDENTITIES, upsert
from tests.tiny_shop import ITEMS, N_CUSTOMERS, recommender, tiny_shop
from training.batch_recommendation import SlateOptions, customers_for, recommend_job
from training.cli import recommend_commands
from training.cli.context import CliContext
from training.log_data import read_log


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny shop with a release; the ids of all but one customer are known."""
    made = tiny_shop(tmp_path_factory.mktemp("slates"))
    made.release("r-one")
    ids = [f"c{number}" for number in range(1, N_CUSTOMERS)]
    keys = pa.array([made.pseudonyms.of(one) for one in ids])
    upsert(made.workspace.identities, IDENTITIES, pa.table({"customer_key": keys, "customer_id": ids}))
    return made


def alone(data, row, k, **wanted):
    """What the recommender ranks for one customer alone: items, scores and sources."""
    model = recommender()
    histories = model.histories(data.view.select([row]), data.known_us)
    ranked, asked = model.ranked(histories, np.ones(len(model.item_ids), np.bool_), k, **wanted)
    sources = [asked.sources[which].name for which in ranked.source[0]]
    return list(
        zip([model.item_ids[place] for place in ranked.places[0]], ranked.scores[0].tolist(), sources, strict=True)
    )


def rows_of(path, customer_id):
    return [row for row in pq.read_table(path).to_pylist() if row["customer_id"] == customer_id]


def test_every_customer_gets_what_the_recommender_says_of_them_alone(shop, tmp_path):
    stages = []
    done = recommend_job(
        shop.workspace, tmp_path / "a.parquet", SlateOptions(3, chunk=7), release_name="r-one", progress=stages.append
    )
    assert (done.n_customers, done.n_nameless) == (N_CUSTOMERS - 1, 1)
    assert stages[-1] == "slates of 40 of 40 customers"
    data = read_log(shop.workspace)
    for number in (1, 8, 39):
        row = int(data.view.rows_of([shop.pseudonyms.of(f"c{number}")])[0])
        told = rows_of(done.path, f"c{number}")
        assert [(one["item_id"], one["score"], one["source"]) for one in told] == alone(data, row, 3)
        assert [one["position"] for one in told] == [1, 2, 3]
    assert rows_of(done.path, "c0") == []
    assert pq.read_table(done.path).num_rows == done.n_rows


def test_the_file_says_who_made_it_and_when_and_does_not_depend_on_chunks_and_threads(shop, tmp_path):
    one = recommend_job(shop.workspace, tmp_path / "one.parquet", SlateOptions(4, chunk=1_000, threads=1))
    many = recommend_job(shop.workspace, tmp_path / "many.parquet", SlateOptions(4, chunk=3, threads=3))
    assert pq.read_table(one.path).to_pylist() == pq.read_table(many.path).to_pylist()
    assert pq.ParquetFile(many.path).num_row_groups == 14
    told = json.loads(pq.read_schema(one.path).metadata[b"holdfast"])
    assert told["model"]["release"] == "r-one"
    assert parse_instant(told["as_of"]) == read_log(shop.workspace).known_us


def test_what_is_owned_or_filtered_is_not_listed(shop, tmp_path):
    out = tmp_path / "a.parquet"
    recommend_job(shop.workspace, out, SlateOptions(5, where="item_id in ('apple', 'dates')"))
    assert set(pq.read_table(out)["item_id"].to_pylist()) == {"apple", "dates"}
    recommend_job(shop.workspace, out, SlateOptions(5, exclude_owned=True))
    assert pq.read_table(out).num_rows == 0  # everybody has bought everything


def test_a_refused_or_broken_run_leaves_no_file(shop, tmp_path):
    with pytest.raises(ConfigurationError, match="parquet"):
        recommend_job(shop.workspace, tmp_path / "a.csv")
    with pytest.raises(FilterError):
        recommend_job(shop.workspace, tmp_path / "a.parquet", SlateOptions(where="colour = 'red'"))
    with pytest.raises(ConfigurationError, match="top"):
        SlateOptions(top=0)

    def stop(stage):
        if stage.startswith("slates"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recommend_job(shop.workspace, tmp_path / "a.parquet", SlateOptions(chunk=5), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_customers_for_an_item_are_those_who_would_be_shown_it_with_the_highest_scores(shop):
    found = customers_for(shop.workspace, "apple", 5, exclude_owners=False)
    data = read_log(shop.workspace)
    expected = []
    for number in range(1, N_CUSTOMERS):
        row = int(data.view.rows_of([shop.pseudonyms.of(f"c{number}")])[0])
        ((_, score, source),) = alone(data, row, 1, pool=recommender().mask(["apple"]))
        expected.append((-score, row, f"c{number}", source))
    assert [(one.score, one.customer_id, one.source) for one in found] == [
        (-score, name, source) for score, _, name, source in sorted(expected)[:5]
    ]
    assert customers_for(shop.workspace, "apple", 5) == []  # every one of them owns it
    with pytest.raises(DataError, match="catalogue"):
        customers_for(shop.workspace, "pear", 5)


def test_the_commands_do_and_say_the_same(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    recommend_commands.register(app)

    def said(*words, as_json):
        result = CliRunner().invoke(app, ["recommend", *words], obj=CliContext(shop.workspace, None, as_json))
        assert result.exception is None, result.exception
        return result.stdout

    done = json.loads(said("batch", "--top", "2", "--out", "a.parquet", as_json=True))
    assert done["n_rows"] == pq.read_table(Path("a.parquet")).num_rows == 2 * (N_CUSTOMERS - 1)
    assert "1 customers were left out" in said("batch", as_json=False)
    listed = json.loads(said("customers", "eggs", "--top", "3", "--owners", as_json=True))
    assert len(listed) == 3
    assert listed[0]["customer_id"] in said("customers", "eggs", "--owners", as_json=False)
    assert set(ITEMS) >= set(pq.read_table(Path("slates.parquet"))["item_id"].to_pylist())
