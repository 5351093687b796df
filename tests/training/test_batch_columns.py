"""What a file of scores tells, from a snapshot or the log: forecasts, segments, reasons for whom they are wanted."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, ConfigurationError
from features.instants import DAY_US, format_instant, parse_instant
from features.table_features import TableColumn, TableFeatures
from features.workspace import Workspace
from serving.rollouts.state import Change, set_champion
from serving.score_book import list_books, read_book
from serving.segments import LANGUAGES
from serving.store import Store
from tests.forecasting import forecasting_model, two_segments
from tests.tiny_shop import TinyShop
from training.batch_scorer import ScoreOptions, language_of
from training.batch_scoring import Scored, score_job
from training.churn_settings import ChurnSettings
from training.feature_jobs import build_features
from training.jobs import read_log
from training.population import eligible
from training.reason_choice import ReasonsFor, reasons_for
from training.score_sources import newest_snapshot

OPTIONS = {field.name for field in fields(ScoreOptions)}


@pytest.fixture
def shop_with_release(shop: Workspace) -> Workspace:
    TinyShop(shop, None).release("r-one", churn=forecasting_model(), segments=two_segments())
    return shop


def score(shop: Workspace, out: Path | None, **changes: object) -> Scored:
    options = ScoreOptions(**{name: value for name, value in changes.items() if name in OPTIONS})
    others = {name: value for name, value in changes.items() if name not in OPTIONS}
    return score_job(shop, out, ChurnSettings(), options, **others)


def test_a_snapshot_gives_the_very_file_that_the_log_gives(shop_with_release: Workspace, tmp_path: Path) -> None:
    build_features(shop_with_release, ChurnSettings(), chunk=150)
    for choice in ("all", "riskiest:0.1"):
        chosen = reasons_for(choice)
        score(shop_with_release, tmp_path / "log.parquet", reasons_for=chosen)
        snapshot = newest_snapshot(shop_with_release, CHURN_FEATURES)
        score(shop_with_release, tmp_path / "snap.parquet", reasons_for=chosen, source=snapshot, chunk=33, threads=3)
        from_log, from_snapshot = pq.read_table(tmp_path / "log.parquet"), pq.read_table(tmp_path / "snap.parquet")
        assert from_log.equals(from_snapshot)
        assert from_log.schema.metadata == from_snapshot.schema.metadata


def test_a_snapshot_says_about_whom_the_question_may_be_asked(shop_with_release: Workspace) -> None:
    built = build_features(shop_with_release, ChurnSettings(), chunk=64)
    table, data = pq.read_table(built.path), read_log(shop_with_release)
    assert table["eligible"].to_pylist() == eligible(data.view, data.known_us, ChurnSettings()).tolist()
    assert table.schema.metadata[b"currency"] == data.currency.encode()
    assert 0 < pc.sum(table["eligible"]).as_py() < table.num_rows
    past = data.first_us + 10 * DAY_US
    early = pq.read_table(build_features(shop_with_release, ChurnSettings(), as_of_us=past).path)
    assert 0 < early.num_rows < table.num_rows  # nobody is there before their first event


def test_the_columns_are_the_models_forecast(shop_with_release: Workspace, tmp_path: Path) -> None:
    score(shop_with_release, tmp_path / "scores.parquet", reasons_for=ReasonsFor("none"))
    rows, source = pq.read_table(tmp_path / "scores.parquet"), _values(shop_with_release)
    model = forecasting_model()
    forecast = model.forecast(source[0], source[1])
    for place, days in enumerate(model.horizons_days):
        column = rows[f"churn_probability_{days}d"].to_numpy()
        np.testing.assert_array_equal(column, forecast.churn_probability_by_horizon[:, place])
    assert rows["churn_probability"].equals(rows["churn_probability_90d"])
    for window, days in enumerate((90, 365)):
        for place, level in enumerate(("p10", "p50", "p90")):
            amounts = rows[f"value_{level}_minor_{days}d"].to_numpy()
            np.testing.assert_array_equal(amounts, np.rint(forecast.value_minor[:, window, place]))
    likely = rows["churn_probability"].to_numpy() <= 0.5
    assert 0 < likely.sum() < likely.size
    purchases = rows["next_purchase_p50"]
    assert np.asarray(pc.is_valid(purchases)).tolist() == likely.tolist()
    # in the middle, 45 days after the gap of 7
    as_of = np.datetime64(format_instant(source[1])[:-1])
    assert set(pc.drop_null(purchases).to_numpy()) == {(as_of + np.timedelta64(52, "D")).astype("datetime64[D]")}
    loss = np.rint(rows["churn_probability"].to_numpy() * forecast.value_if_stays_minor)
    np.testing.assert_array_equal(rows["expected_loss_minor"].to_numpy(), loss)


def _values(shop: Workspace) -> tuple[np.ndarray, int]:
    from features.compute import compute

    data = read_log(shop)
    return np.ascontiguousarray(compute(data.view, CHURN_FEATURES, data.known_us).values), data.known_us


def test_only_the_riskiest_of_the_eligible_get_reasons(shop_with_release: Workspace, tmp_path: Path) -> None:
    chosen = ReasonsFor("riskiest", 0.1)
    done = score(shop_with_release, tmp_path / "scores.parquet", reasons_for=chosen, chunk=7)  # some without anybody
    rows = pq.read_table(tmp_path / "scores.parquet")
    asked = rows.filter(rows["eligible"])
    wanted = int(np.ceil(asked.num_rows / 10))
    with_reasons = rows.filter(pc.is_valid(rows["reason_codes"]))
    assert done.n_reasoned == with_reasons.num_rows >= wanted
    assert all(with_reasons["eligible"].to_pylist())
    least = pc.min(with_reasons["churn_probability"]).as_py()
    above = pc.sum(pc.greater(asked["churn_probability"], least)).as_py()
    assert above < wanted  # more than the tenth only where customers are equal to the last of them
    assert pc.max(asked.filter(pc.is_null(asked["reason_codes"]))["churn_probability"]).as_py() < least


def test_reasons_by_band_are_for_everybody_who_reaches_the_cut_off(
    shop_with_release: Workspace, tmp_path: Path
) -> None:
    score(shop_with_release, tmp_path / "scores.parquet", reasons_for=reasons_for("band:high"))
    rows = pq.read_table(tmp_path / "scores.parquet")
    assert pc.is_valid(rows["reason_codes"]).to_pylist() == pc.equal(rows["band"], "high").to_pylist()
    texts = rows.filter(pc.equal(rows["band"], "high"))["reason_texts"].to_pylist()
    assert all(len(text) > 10 for text in texts)


def test_names_come_in_the_language_that_is_chosen(shop_with_release: Workspace, tmp_path: Path) -> None:
    for language in LANGUAGES:
        score(shop_with_release, tmp_path / f"{language}.parquet", language=language, reasons_for=ReasonsFor("none"))
        rows = pq.read_table(tmp_path / f"{language}.parquet")
        names = dict(zip(two_segments().segment_keys, two_segments().names(language).segment, strict=True))
        told = set(zip(rows["segment"].to_pylist(), rows["segment_name"].to_pylist(), strict=True))
        assert told <= set(names.items())
        assert len(told) > 1
    assert language_of("zh") == "zh"
    with pytest.raises(ConfigurationError, match="en, zh"):
        language_of("fr")


def test_the_file_names_its_model_in_columns_metadata_and_name(shop_with_release: Workspace, tmp_path: Path) -> None:
    done = score(shop_with_release, tmp_path)
    instant = done.as_of.replace(":", "")
    assert done.path == tmp_path / f"holdfast-churn-3_r-one_{instant}.parquet"
    rows = pq.read_table(done.path)
    told = {"model": "holdfast-churn", "model_version": "3", "release": "r-one", "as_of": done.as_of}
    for name, text in told.items():
        assert set(rows[name].to_pylist()) == {text}
        assert rows.schema.metadata[name.encode()] == text.encode()
    assert rows.schema.metadata[b"horizon_days"] == b"90"


def test_the_book_holds_the_scores_of_the_file_by_pseudonym(shop_with_release: Workspace, tmp_path: Path) -> None:
    done = score(shop_with_release, tmp_path / "scores.parquet", keep_books=3, reasons_for=reasons_for("band:high"))
    (name,) = list_books(shop_with_release.scores)
    assert (name.seq, name.release, name.as_of_us) == (done.book, "r-one", parse_instant(done.as_of))
    book, rows = read_book(name), pq.read_table(tmp_path / "scores.parquet")
    assert len(book) == rows.num_rows  # everybody of the small shop is known by name, in the order of the view
    for column in ("churn_probability", "band", "eligible", "expected_loss_minor", "segment", "reason_codes"):
        assert book.rows[column].to_pylist() == rows[column].to_pylist(), column
    assert book.rows["stage"].to_pylist() == rows["lifecycle_stage"].to_pylist()
    assert book.facts.currency == rows["currency"][0].as_py()
    assert book.facts.names["zh"]["segment"]["s1"] == "高客单价顾客"
    assert book.keys.to_pylist() == sorted(book.keys.to_pylist())


def test_no_book_is_written_unless_wanted_nor_before_the_newest(shop_with_release: Workspace, tmp_path: Path) -> None:
    assert score(shop_with_release, tmp_path / "a.parquet").book is None
    assert list_books(shop_with_release.scores) == ()
    score(shop_with_release, tmp_path / "b.parquet", keep_books=3)
    past = read_log(shop_with_release).known_us - DAY_US
    with pytest.raises(ConfigurationError, match="--no-book"):
        score(shop_with_release, tmp_path / "c.parquet", keep_books=3, as_of_us=past)
    assert not (tmp_path / "c.parquet").exists()


def test_the_release_that_is_served_scores_unless_another_is_named(
    shop_with_release: Workspace, tmp_path: Path
) -> None:
    TinyShop(shop_with_release, None).release("r-two", base=1.0)
    assert score(shop_with_release, tmp_path / "a.parquet").release == "r-two"  # of one age, the later name
    store = Store.open(shop_with_release.store)
    set_champion(store, "r-one", Change("ada", 0, "a test"))
    store.close()
    assert score(shop_with_release, tmp_path / "b.parquet").release == "r-one"
    assert score(shop_with_release, tmp_path / "c.parquet", release_name="r-two").release == "r-two"


def test_without_a_fitting_snapshot_the_message_says_how_to_build_one(shop_with_release: Workspace) -> None:
    with pytest.raises(ArtefactError, match="features build"):
        newest_snapshot(shop_with_release, CHURN_FEATURES)
    shop_with_release.snapshots.mkdir()
    other = pa.table({"customer_key": ["k"]}).replace_schema_metadata({"feature_set_fingerprint": "0" * 64})
    pq.write_table(other, shop_with_release.snapshots / "other.parquet")
    with pytest.raises(ArtefactError, match="no snapshot of this feature set"):
        newest_snapshot(shop_with_release, CHURN_FEATURES)
    table = TableFeatures("id", "Churn", "Yes", (TableColumn("tenure", "number"),))
    with pytest.raises(ArtefactError, match=r"build one: holdfast features build --table FILE$"):
        newest_snapshot(shop_with_release, table)


@pytest.mark.parametrize("text", ["riskiest", "riskiest:0", "riskiest:1.1", "band:low", "some", "", "riskiest:nan"])
def test_an_unknown_choice_of_reasons_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"riskiest:0\.1"):
        reasons_for(text)


def test_the_riskiest_are_counted_among_all_where_nobody_is_eligible() -> None:
    margins = np.arange(10.0)
    assert ReasonsFor("riskiest", 0.3).least_margin(margins, margins < 5) == 3.0  # two of five, rounded up
    assert ReasonsFor("riskiest", 0.3).least_margin(margins, np.zeros(10, bool)) == 7.0
