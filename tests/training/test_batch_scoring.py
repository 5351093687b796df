from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.errors import ArtefactError, ConfigurationError, NotEnoughDataError
from features.event_log import EventLog
from features.instants import DAY_US, parse_instant
from features.tables import IDENTITIES, read_table
from features.workspace import Workspace
from serving.releases import load_named, newest_release
from serving.scoring import score_churn
from tests.tiny_shop import TinyShop, edit_manifest
from training.batch_scorer import ScoreOptions
from training.batch_scoring import Scored, score_job
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.jobs import read_log
from training.population import eligible

COLUMNS = [
    *("customer_id", "churn_probability", "churn_probability_90d", "churn_score", "percentile", "band", "eligible"),
    *("next_purchase_p10", "next_purchase_p50", "next_purchase_p90"),
    *(f"value_{level}_minor_{days}d" for days in (90, 365) for level in ("p10", "p50", "p90")),
    *("expected_loss_minor", "currency", "segment", "segment_name", "lifecycle_stage", "lifecycle_stage_name"),
    *("reason_codes", "reason_texts", "as_of", "model", "model_version", "release"),
]


@pytest.fixture
def scored_shop(shop: Workspace) -> Workspace:
    TinyShop(shop, None).release("r-one")
    return shop


OPTIONS = {field.name for field in fields(ScoreOptions)}


def score(shop: Workspace, out: Path | None, **changes: object) -> Scored:
    options = ScoreOptions(**{name: value for name, value in changes.items() if name in OPTIONS})
    others = {name: value for name, value in changes.items() if name not in OPTIONS}
    return score_job(shop, out, ChurnSettings(), options, **others)


def test_every_customer_with_an_event_gets_a_row_in_the_shops_own_id(scored_shop: Workspace, tmp_path: Path) -> None:
    done = score(scored_shop, tmp_path / "scores.parquet")
    rows = pq.read_table(tmp_path / "scores.parquet")
    data = read_log(scored_shop)
    assert rows.schema.names == COLUMNS
    assert (done.n_scored, done.n_nameless) == (rows.num_rows, 0)
    assert rows.num_rows == data.view.n_customers
    ids = set(read_table(scored_shop.identities, IDENTITIES)["customer_id"].to_pylist())
    assert set(rows["customer_id"].to_pylist()) <= ids
    assert pc.count_distinct(rows["customer_id"]).as_py() == rows.num_rows
    assert not any(":" in name for name in rows["customer_id"].to_pylist())
    eligible = rows.filter(rows["eligible"])
    assert 0 < done.n_eligible == eligible.num_rows < rows.num_rows
    assert done.bands == {band: eligible["band"].to_pylist().count(band) for band in ("high", "medium", "low")}


def test_scores_are_those_of_the_services_scorer_bit_for_bit_however_they_are_chunked(
    scored_shop: Workspace, tmp_path: Path
) -> None:
    score(scored_shop, tmp_path / "whole.parquet")
    score(scored_shop, tmp_path / "chunked.parquet", chunk=37)
    whole, chunked = pq.read_table(tmp_path / "whole.parquet"), pq.read_table(tmp_path / "chunked.parquet")
    assert whole.equals(chunked)
    data = read_log(scored_shop)
    release = load_named("r-one", scored_shop)
    expected = score_churn(release.churn, release.bands, compute(data.view, CHURN_FEATURES, data.known_us))
    np.testing.assert_array_equal(whole["churn_probability"].to_numpy(), expected.churn_probability)
    assert whole["band"].to_pylist() == expected.band.tolist()
    assert set(whole["release"].to_pylist()) == {"r-one"}
    assert set(whole["model_version"].to_pylist()) == {"3"}


def test_csv_holds_the_same_as_parquet(scored_shop: Workspace, tmp_path: Path) -> None:
    score(scored_shop, tmp_path / "scores.parquet")
    score(scored_shop, tmp_path / "scores.csv")
    written = pq.read_table(tmp_path / "scores.parquet")
    options = pa_csv.ConvertOptions(column_types=written.schema, strings_can_be_null=True)
    read = pa_csv.read_csv(tmp_path / "scores.csv", convert_options=options)
    assert read.cast(written.schema).equals(written)


def test_a_past_instant_sees_only_what_was_known_then(scored_shop: Workspace, tmp_path: Path) -> None:
    events = EventLog.open(scored_shop.event_log).read(columns=["customer_key", "recorded_at"])
    instant = read_log(scored_shop).first_us + 10 * DAY_US
    known = pc.less(events["recorded_at"].cast("int64"), instant)
    expected = pc.count_distinct(events.filter(known)["customer_key"]).as_py()
    done = score(scored_shop, tmp_path / "past.parquet", as_of_us=instant)
    assert parse_instant(done.as_of) == instant
    assert 0 < done.n_scored == expected < read_log(scored_shop).view.n_customers


def test_customers_without_a_known_id_are_counted_and_left_out(scored_shop: Workspace, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(scored_shop.identities)
    done = score(scored_shop, tmp_path / "scores.csv")
    assert done.n_scored == 0
    assert done.n_nameless == read_log(scored_shop).view.n_customers


def test_before_the_first_event_there_is_nobody_to_score(scored_shop: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughDataError, match="0 customers have an event before"):
        score(scored_shop, tmp_path / "scores.csv", as_of_us=read_log(scored_shop).first_us)
    assert list(tmp_path.glob("*scores*")) == []


def test_an_altered_release_scores_nobody_and_leaves_the_old_file(scored_shop: Workspace, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("yesterday's")
    booster = scored_shop.releases / "r-one" / "churn" / "booster.txt"
    booster.write_bytes(booster.read_bytes()[:-10])
    with pytest.raises(ArtefactError, match=r"booster\.txt"):
        score(scored_shop, tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text() == "yesterday's"


def test_an_interrupted_run_leaves_the_old_file(scored_shop: Workspace, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("yesterday's")

    def interrupt(stage: str) -> None:
        if stage.startswith("scored"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(scored_shop, tmp_path / "scores.csv", chunk=50, progress=interrupt)
    assert (tmp_path / "scores.csv").read_text() == "yesterday's"
    assert [path.name for path in tmp_path.glob("*scores*")] == ["scores.csv"]


def test_another_ending_is_refused(scored_shop: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\.csv, \.parquet"):
        score(scored_shop, tmp_path / "scores.xlsx")


def test_without_a_release_the_message_says_how_to_make_one(workspace: Workspace) -> None:
    with pytest.raises(ArtefactError, match="holdfast release"):
        newest_release(workspace.releases)


def test_who_is_asked_about_is_told_by_the_question_that_the_release_answers(
    scored_shop: Workspace, tmp_path: Path
) -> None:
    def n_eligible() -> int:
        return score(scored_shop, tmp_path / "scores.csv", release_name="r-one", as_of_us=end_us).n_eligible

    view = read_log(scored_shop)
    end_us = view.known_us
    week = ChurnProblem(eligible_days=7)
    expected = int(eligible(view.view, end_us, ChurnSettings(problem=week)).sum())
    assert n_eligible() == int(eligible(view.view, end_us, ChurnSettings()).sum()) > expected > 0
    folder = scored_shop.releases / "r-one"
    edit_manifest(folder, lambda manifest: manifest["provenance"]["churn"].update(question=week.to_json()))
    assert n_eligible() == expected
