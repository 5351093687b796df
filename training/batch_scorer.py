"""Scores of all customers of a source, streamed: chunks of features in, columns of scores out, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.errors import ConfigurationError
from serving.reasons import reasons_of_many
from serving.release import Release
from serving.scoring import score_churn
from serving.segments import LANGUAGES, Language
from training.log_data import Progress
from training.reason_choice import ReasonsFor
from training.score_columns import ScoreColumns
from training.score_sources import FeatureChunk, FeatureSource

__all__ = ["BatchScorer", "ScoreOptions", "language_of"]

_BLOCK = 1_000
"""Rows explained at once: LightGBM takes so few on the calling thread alone."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class ScoreOptions:
    """How customers are scored.

    reasons_for, reasons_count: who gets reasons, and how many at most. language: of reasons and names.
    keep_books: how many books of scores to keep; None writes none. chunk, threads: customers at a time, in how many
    threads; neither changes a score.
    """

    reasons_for: ReasonsFor = field(default_factory=ReasonsFor)
    reasons_count: int = 3
    language: Language = "en"
    keep_books: int | None = None
    chunk: int = 16_384
    threads: int = 2


@dataclass(frozen=True, eq=False)
class BatchScorer:
    """Scores a source by a release, in order, a chunk a thread."""

    release: Release
    source: FeatureSource
    options: ScoreOptions
    columns: ScoreColumns = field(init=False)

    def __post_init__(self) -> None:
        columns = ScoreColumns(self.release, self.source.as_of_us, self.source.currency, self.options.language)
        object.__setattr__(self, "columns", columns)

    def results(self, progress: Progress) -> Iterator[tuple[int, pa.Array, pa.Table]]:
        """For each chunk its first row, its pseudonyms and its columns.

        The riskiest are only known when all are scored: then features are read a second time, and margins kept.
        """
        margins, least, only_eligible = None, np.inf, True
        if self.options.reasons_for.kind == "riskiest" and self.options.reasons_count:
            progress("finding the riskiest customers")
            first = list(self._each(self._margins))
            margins, eligible = (np.concatenate(parts) for parts in zip(*first, strict=True))
            least, only_eligible = self.options.reasons_for.least_margin(margins, eligible), bool(eligible.any())
        yield from self._each(lambda chunk: self._chunk(chunk, margins, least, only_eligible))

    def probabilities(self) -> npt.NDArray[np.float64]:
        """The churn probabilities alone, float64 (n,), in the order of the source."""
        margins = np.concatenate([found for found, _ in self._each(self._margins)])
        return self.release.churn.calibrated(margins, self.source.as_of_us)

    def _each(self, work: Callable[[FeatureChunk], Made]) -> Iterator[Made]:
        return _in_order(work, self.source.chunks(self.options.chunk), self.options.threads)

    def _margins(self, chunk: FeatureChunk) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        return self.release.churn.margins(chunk.table.values), chunk.eligible

    def _chunk(
        self, chunk: FeatureChunk, margins: npt.NDArray[np.float64] | None, least: float, only_eligible: bool
    ) -> tuple[int, pa.Array, pa.Table]:
        release, table = self.release, chunk.table
        n = len(chunk.eligible)
        known = release.churn.margins(table.values) if margins is None else margins[chunk.start : chunk.start + n]
        scores = score_churn(release.churn, release.bands, table, forecast=False, margins=known)
        forecast = release.churn.forecast(table.values, table.as_of_us, margins=known)
        columns = self.columns.table(table, scores, forecast, chunk.eligible)
        among = chunk.eligible if only_eligible else np.ones(n, np.bool_)
        reasoned = self._gets_reasons(scores.churn_probability, (known >= least) & among)
        return (
            chunk.start,
            pa.array(table.customer_keys, pa.string()),
            self._explained(chunk, columns, np.flatnonzero(reasoned)),
        )

    def _gets_reasons(
        self, probability: npt.NDArray[np.float64], riskiest: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        chosen = self.options.reasons_for
        if chosen.kind == "none" or self.options.reasons_count == 0:
            return np.zeros(probability.size, np.bool_)
        if chosen.kind == "all":
            return np.ones(probability.size, np.bool_)
        return riskiest if chosen.kind == "riskiest" else np.asarray(probability >= chosen.cut_off(self.release.bands))

    def _explained(self, chunk: FeatureChunk, columns: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
        model, codes, texts = self.release.churn, [], []
        for block in _blocks(rows.size):
            values = chunk.table.values[rows[block]]
            told = reasons_of_many(
                model,
                values,
                model.contributions(values),
                self.options.reasons_count,
                self.columns.language,
                self.columns.currency,
            )
            codes += [" ".join(one.code for one in found) for found in told]
            texts += [" | ".join(one.text for one in found) for found in told]
        return self.columns.with_reasons(columns, rows, codes, texts) if rows.size else columns


def language_of(text: str) -> Language:
    """A language as written on the command line.

    Raises:
        ConfigurationError: there are no words in it.
    """
    for language in LANGUAGES:
        if language == text:
            return language
    raise ConfigurationError(f"there are no words in the language {text!r}; write one of {', '.join(LANGUAGES)}")


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, _BLOCK):
        yield slice(start, min(start + _BLOCK, n))


def _in_order(work: Callable[[Given], Made], given: Iterable[Given], threads: int) -> Iterator[Made]:
    """The results in the order given; at most two for each thread are under way or waiting, so memory is bounded."""
    under_way: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="scoring") as pool:
        try:
            for one in given:
                under_way.append(pool.submit(work, one))
                if len(under_way) >= 2 * threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
