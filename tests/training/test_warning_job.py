"""The warnings job on a small simulated shop: the same from books as computed again, and nobody twice."""

from pathlib import Path

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.compute import compute
from features.errors import ArtefactError
from features.instants import DAY_US, format_instant
from features.workspace import Workspace
from serving.early_warning import WarningRule, log_odds
from serving.releases import load_named
from serving.score_book import list_books, read_book
from serving.store import Store
from serving.warning_log import read_warnings
from tests.forecasting import forecasting_model
from tests.tiny_shop import TinyShop
from training.batch_scorer import ScoreOptions
from training.batch_scoring import score_job
from training.churn_settings import ChurnSettings
from training.jobs import read_log
from training.warning_job import warning_job

RULE = WarningRule(rise=0.4, rearm_rise=0.1, weekly_capacity=5)


@pytest.fixture
def scored_shop(shop: Workspace) -> Workspace:
    TinyShop(shop, None).release("r-one", churn=forecasting_model())
    return shop


def book(shop: Workspace, out: Path, days_ago: int) -> None:
    at = read_log(shop).known_us - days_ago * DAY_US
    score_job(shop, out, ChurnSettings(), ScoreOptions(keep_books=9), as_of_us=at)


def told(shop: Workspace) -> list[tuple[str, float]]:
    store = Store.open(shop.store)
    found = [(one.customer_key, one.rise) for one in read_warnings(store, 0, 999)]
    store.close()
    return found


def test_those_are_warned_of_whose_odds_rose_most_worth_first_by_capacity(
    scored_shop: Workspace, tmp_path: Path
) -> None:
    book(scored_shop, tmp_path / "now.parquet", 0)
    done = warning_job(scored_shop, RULE, ChurnSettings())
    data = read_log(scored_shop)
    then_us = data.known_us - 7 * DAY_US
    assert (done.basis, done.since) == ("recomputed", format_instant(then_us))
    model = load_named("r-one", scored_shop).churn
    now, then = (
        log_odds(model.probabilities(compute(data.view, CHURN_FEATURES, at).values, at))
        for at in (data.known_us, then_us)
    )
    kept = read_book(list_books(scored_shop.scores)[-1])
    loss = kept.rows["expected_loss_minor"].to_numpy()
    known_then = np.array([data.view.known_at(then_us).rows_of([key])[0] >= 0 for key in kept.keys.to_pylist()])
    risen = np.flatnonzero((now - then >= RULE.rise) & kept.eligible & known_then)
    expected = risen[np.argsort(-loss[risen], kind="stable")][:5]
    assert len(risen) > 5
    assert done.given.n_risen == len(risen)
    assert done.given.n_held_back == len(risen) - 5
    assert [key for key, _ in told(scored_shop)] == kept.keys.take(expected).to_pylist()
    np.testing.assert_allclose([rise for _, rise in told(scored_shop)], (now - then)[expected], atol=1e-9)


def test_a_book_of_a_week_before_gives_the_same_as_computing_again(scored_shop: Workspace, tmp_path: Path) -> None:
    book(scored_shop, tmp_path / "then.parquet", 7)
    book(scored_shop, tmp_path / "now.parquet", 0)
    from_book = warning_job(scored_shop, RULE, ChurnSettings())
    first = told(scored_shop)
    assert from_book.basis == "book"
    assert warning_job(scored_shop, RULE, ChurnSettings()).given.n_warned == 0  # again: nobody twice
    for path in scored_shop.root.glob("service.db*"):
        path.unlink()
    list_books(scored_shop.scores)[0].path.unlink()
    again = warning_job(scored_shop, RULE, ChurnSettings())
    assert again.basis == "recomputed"
    assert again.given == from_book.given
    assert [key for key, _ in told(scored_shop)] == [key for key, _ in first]


def test_without_scores_the_message_says_what_to_run(scored_shop: Workspace) -> None:
    with pytest.raises(ArtefactError, match="holdfast score"):
        warning_job(scored_shop, RULE, ChurnSettings())
