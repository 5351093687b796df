"""The columns of a file of scores: what of a customer's score a CRM imports, and who made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.compute import FeatureTable
from features.instants import DAY_US, format_instant
from serving.churn_answers import model_of
from serving.forecast import QUANTILES, VALUE_DAYS, Forecast
from serving.lifecycle import STAGES
from serving.release import Release
from serving.scoring import ChurnScores
from serving.segments import Language, SegmentNames

__all__ = ["ScoreColumns"]

Array = npt.NDArray[np.float64]
_LEVELS = tuple(f"p{round(100 * level)}" for level in QUANTILES)
_MOST_MINOR = 2.0**53


@dataclass(frozen=True, eq=False)
class ScoreColumns:
    """How scores by one release at one instant become columns.

    currency: of all amounts, None where unknown. language: of the names of segments and the texts of reasons.
    """

    release: Release
    as_of_us: int
    currency: str | None
    language: Language
    schema: pa.Schema = field(init=False, repr=False)
    _names: SegmentNames | None = field(init=False, repr=False)
    _constants: dict[str, str | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        segments, model = self.release.segments, model_of(self.release, "churn")
        constants = {
            "currency": self.currency,
            "as_of": format_instant(self.as_of_us),
            "model": model["name"],
            "model_version": model["version"],
            "release": self.release.name,
        }
        object.__setattr__(self, "_names", None if segments is None else segments.names(self.language))
        object.__setattr__(self, "_constants", constants)
        told = {name: text for name, text in constants.items() if text is not None}
        told |= {"horizon_days": str(self.release.churn.horizon_days), "language": self.language}
        object.__setattr__(self, "schema", pa.schema(list(self._fields()), metadata=told))

    @property
    def file_name(self) -> str:
        """What the file is called where nobody says otherwise, without an ending: it names the model."""
        told = self._constants
        instant = format_instant(self.as_of_us).replace(":", "")
        return f"{told['model']}-{told['model_version']}_{told['release']}_{instant}"

    def table(
        self, table: FeatureTable, scores: ChurnScores, forecast: Forecast, eligible: npt.NDArray[np.bool_]
    ) -> pa.Table:
        """The columns of some customers; `customer_id` and the reasons are still null."""
        n = len(scores)
        columns: dict[str, pa.Array] = {
            "customer_id": pa.nulls(n, pa.string()),
            "churn_probability": pa.array(scores.churn_probability),
            "churn_score": pa.array(scores.churn_score),
            "percentile": pa.array(scores.percentile),
            "band": pa.array(scores.band, pa.string()),
            "eligible": pa.array(eligible),
            "reason_codes": pa.nulls(n, pa.string()),
            "reason_texts": pa.nulls(n, pa.string()),
            **self._forecast(forecast),
            **self._segments(table, n),
            **{
                name: pa.nulls(n, pa.string()) if text is None else pa.repeat(text, n)
                for name, text in self._constants.items()
            },
        }
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)

    def with_reasons(
        self, columns: pa.Table, rows: npt.NDArray[np.int64], codes: Sequence[str], texts: Sequence[str]
    ) -> pa.Table:
        """The same with the reasons of some of its rows."""
        place = np.zeros(columns.num_rows, np.int64)
        place[rows] = np.arange(rows.size)
        without = np.ones(columns.num_rows, np.bool_)
        without[rows] = False
        taken = pa.array(place, mask=without)
        for name, words in (("reason_codes", codes), ("reason_texts", texts)):
            at = self.schema.get_field_index(name)
            columns = columns.set_column(at, self.schema.field(at), pa.array(words, pa.string()).take(taken))
        return columns

    @property
    def _event(self) -> str:
        return "next_purchase" if self.release.churn.awaits == "return" else "leaving"

    def _fields(self) -> list[pa.Field]:
        """In the order of the file."""
        whole, text, day = pa.int64(), pa.string(), pa.date32()
        return [
            pa.field("customer_id", text),
            pa.field("churn_probability", pa.float64()),
            *(pa.field(f"churn_probability_{days}d", pa.float64()) for days in self.release.churn.horizons_days),
            pa.field("churn_score", whole),
            pa.field("percentile", pa.float64()),
            pa.field("band", text),
            pa.field("eligible", pa.bool_()),
            *(pa.field(f"{self._event}_{level}", day) for level in _LEVELS),
            *(pa.field(f"value_{level}_minor_{days}d", whole) for days in VALUE_DAYS for level in _LEVELS),
            pa.field("expected_loss_minor", whole),
            pa.field("currency", text),
            *(pa.field(name, text) for name in ("segment", "segment_name", "lifecycle_stage", "lifecycle_stage_name")),
            *(pa.field(name, text) for name in ("reason_codes", "reason_texts")),
            *(pa.field(name, text) for name in ("as_of", "model", "model_version", "release")),
        ]

    def _forecast(self, forecast: Forecast) -> dict[str, pa.Array]:
        churn = self.release.churn
        columns = {
            f"churn_probability_{days}d": _number(forecast.churn_probability_by_horizon[:, place])
            for place, days in enumerate(churn.horizons_days)
        }
        start_days = self.as_of_us / DAY_US + churn.gap_days
        for place, level in enumerate(_LEVELS):
            columns[f"{self._event}_{level}"] = _day(start_days + forecast.next_event_days[:, place])
            for window, days in enumerate(VALUE_DAYS):
                columns[f"value_{level}_minor_{days}d"] = _minor(forecast.value_minor[:, window, place])
        return columns | {"expected_loss_minor": _minor(forecast.expected_loss_minor)}

    def _segments(self, table: FeatureTable, n: int) -> dict[str, pa.Array]:
        segmentation, names = self.release.segments, self._names
        if segmentation is None or names is None:
            empty = ("segment", "segment_name", "lifecycle_stage", "lifecycle_stage_name")
            return {name: pa.nulls(n, pa.string()) for name in empty}
        found = segmentation.of(table)
        return {
            "segment": _word(segmentation.segment_keys, found.segment),
            "segment_name": _word(names.segment, found.segment),
            "lifecycle_stage": _word(STAGES, found.stage),
            "lifecycle_stage_name": _word(names.stage, found.stage),
        }


def _word(words: Sequence[str], codes: npt.NDArray[np.integer]) -> pa.Array:
    return pa.array(words, pa.string()).take(pa.array(codes))


def _number(values: Array) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), mask=np.isnan(values))


def _minor(values: Array) -> pa.Array:
    unknown = np.isnan(values)
    whole = np.rint(np.minimum(np.where(unknown, 0.0, values), _MOST_MINOR)).astype(np.int64)
    return pa.array(whole, mask=unknown)


def _day(days: Array) -> pa.Array:
    """Days since 1970, UTC."""
    unknown = np.isnan(days)
    return pa.array(np.floor(np.where(unknown, 0.0, days)).astype(np.int32), mask=unknown).cast(pa.date32())
