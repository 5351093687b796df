"""The job behind `holdfast warnings`: the newest scores beside those of a week before, and who is warned of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.churn_features import CHURN_FEATURES
from features.errors import ConfigurationError
from features.instants import DAY_US, format_instant
from features.workspace import Workspace
from serving.early_warning import WarningRule
from serving.releases import load_named
from serving.score_book import Book, list_books, newest_book, read_book
from serving.store import Store
from serving.warning_log import Given, give_warnings
from training.batch_scorer import BatchScorer, ScoreOptions
from training.churn_settings import ChurnSettings
from training.log_data import Progress, silent
from training.score_sources import LogFeatures

__all__ = ["WarningsGiven", "warning_job"]


@dataclass(frozen=True)
class WarningsGiven:
    """What a run came to.

    basis: whether the earlier scores stood in a book or were computed again from the log; since: as of when they are.
    """

    as_of: str
    release: str
    basis: Literal["book", "recomputed"]
    since: str
    given: Given


def warning_job(
    workspace: Workspace,
    rule: WarningRule,
    churn_settings: ChurnSettings,
    *,
    threads: int = 2,
    progress: Progress = silent,
) -> WarningsGiven:
    """Compare the newest book of scores with the same release's scores `window_days` before, and warn by the rule.

    The earlier scores are those of the nearest book, at most a day away from that instant; without one they are
    computed again from the log as it was known then. Another release's book would show how the models differ.

    Raises:
        ArtefactError: there is no book, or the release that wrote it is gone.
        ConfigurationError: warnings of a later instant were given already; or there is no earlier book, and the release
            reads a table, in which the past does not stand.
        UnavailableError: the store is locked; nothing was changed.
    """
    progress("reading the newest scores")
    name = newest_book(workspace.scores)
    book = read_book(name)
    then_us = name.as_of_us - rule.window_days * DAY_US
    near = [
        one for one in list_books(workspace.scores)
        if one.release == name.release and abs(one.as_of_us - then_us) <= DAY_US and one.as_of_us < name.as_of_us
    ]  # fmt: skip
    basis: Literal["book", "recomputed"] = "recomputed"
    if near:
        basis, nearest = "book", min(near, key=lambda one: (abs(one.as_of_us - then_us), -one.seq))
        earlier = read_book(nearest, ("customer_key", "churn_probability"))
        then_us, before = nearest.as_of_us, _by_row(book, earlier.keys, earlier.probability)
    else:
        progress(f"scoring everybody as of {format_instant(then_us)}")
        before = _recomputed(workspace, book, then_us, churn_settings, threads)
    progress("deciding whom to warn of")
    store = Store.open(workspace.store)
    try:
        given = give_warnings(store, rule, book, before)
    finally:
        store.close()
    return WarningsGiven(format_instant(name.as_of_us), name.release, basis, format_instant(then_us), given)


def _recomputed(
    workspace: Workspace, book: Book, as_of_us: int, settings: ChurnSettings, threads: int
) -> npt.NDArray[np.float64]:
    release = load_named(book.name.release, workspace)
    if release.table is not None:
        raise ConfigurationError(
            f"{release.name} reads a labelled table, which is of one moment, and no book of its scores is of about "
            f"{format_instant(as_of_us)}; computing them now needs an event log. For a table: every [warnings] "
            "window_days days, holdfast features build --table FILE && holdfast score; the books are compared then"
        )
    source = LogFeatures.read(workspace, CHURN_FEATURES, settings, as_of_us)
    scorer = BatchScorer(release, source, ScoreOptions(threads=threads))
    return _by_row(book, source.customer_keys(), scorer.probabilities())


def _by_row(book: Book, keys: pa.Array, probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By row of the book; NaN for customers who are not among the keys."""
    places = np.asarray(pc.index_in(book.keys, value_set=keys).fill_null(-1))
    return np.where(places >= 0, probability[places], np.nan)
