"""Segments of customers beside the churn score: RFM cell, behavioural segment and lifecycle stage."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.errors import ArtefactError
from serving import strict_json
from serving.behaviour import BEHAVIOUR_FEATURES, Behaviour
from serving.languages import LANGUAGES, Language
from serving.lifecycle import LIFECYCLE_FEATURES, STAGES, Lifecycle
from serving.rfm import RFM_CELLS, RFM_FEATURES, RfmScale

__all__ = ["LANGUAGES", "Language", "SegmentNames", "Segmentation", "Segments", "Stability", "segment_words"]

_FORMAT = 1
_WHAT = "segments.json"
_READ = tuple(dict.fromkeys((*RFM_FEATURES, *LIFECYCLE_FEATURES, *BEHAVIOUR_FEATURES)))


@cache
def segment_words() -> dict[str, Any]:
    """The words of cells, stages and segments, read once from the package: see segment_words.toml."""
    return tomllib.loads(resources.files("serving").joinpath("segment_words.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class SegmentNames:
    """Names in one language, to be indexed by the codes of `Segments`."""

    rfm: tuple[str, ...]
    segment: tuple[str, ...]
    stage: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Segments:
    """Segments of n customers at one instant; every array is (n,).

    recency, frequency, money: int8, the RFM fifths 1 to 5, 5 is best; 0 where there is no order yet.
    rfm: int8, index into RFM_CELLS. segment: int16, index into `Segmentation.segment_keys`; 0 where there was no order
    in the last 365 days. stage: int8, index into STAGES.
    """

    recency: npt.NDArray[np.int8]
    frequency: npt.NDArray[np.int8]
    money: npt.NDArray[np.int8]
    rfm: npt.NDArray[np.int8]
    segment: npt.NDArray[np.int16]
    stage: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return int(self.rfm.shape[0])

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """Every array."""
        return self.recency, self.frequency, self.money, self.rfm, self.segment, self.stage

    def select(self, rows: npt.NDArray[np.int64]) -> Segments:
        """The segments of some of the customers."""
        return Segments(*(column[rows] for column in self.columns()))


@dataclass(frozen=True)
class Stability:
    """How far the behavioural segments can be relied on; NaN where there were too few customers to form any.

    silhouette: mean silhouette width, in [-1, 1]. rand_mean, rand_low: mean and tenth percentile of the adjusted Rand
    index between these segments and those found again on bootstrap samples; 1 is the same, 0 is chance.
    """

    silhouette: float
    rand_mean: float
    rand_low: float
    n_customers: int


@dataclass(frozen=True, eq=False)
class Segmentation:
    """How the features of customers map to segments; complete and frozen, carried in a release.

    as_of_us: the instant whose customers it was fitted on.
    """

    rfm: RfmScale
    lifecycle: Lifecycle
    behaviour: Behaviour
    stability: Stability
    as_of_us: int

    @property
    def segment_keys(self) -> tuple[str, ...]:
        """Keys of the behavioural segments by code: `no_recent_order`, then `s1`, `s2`, ..."""
        return ("no_recent_order", *(f"s{place + 1}" for place in range(len(self.behaviour.names))))

    def of(self, table: FeatureTable) -> Segments:
        """The segments of every customer of a feature table; a customer's do not depend on the others.

        Raises:
            ArtefactError: the table lacks a feature that the segments read.
        """
        absent = [name for name in _READ if name not in table.names]
        if absent:
            raise ArtefactError(f"segments read the feature {absent[0]}, which the table does not have; compute it")
        rfm = self.rfm.of(table)
        return Segments(
            recency=rfm.recency,
            frequency=rfm.frequency,
            money=rfm.money,
            rfm=rfm.cell,
            segment=self.behaviour.of(table),
            stage=self.lifecycle.of(table),
        )

    def names(self, language: Language) -> SegmentNames:
        """The names of all codes in a language."""
        words = segment_words()
        plain = words["segment"]["no_recent_order"][language]
        return SegmentNames(
            rfm=tuple(words["rfm"][key][language] for key in RFM_CELLS),
            segment=(plain, *(names[language] for names in self.behaviour.names)),
            stage=tuple(words["stage"][key][language] for key in STAGES),
        )

    def to_manifest(self) -> dict[str, object]:
        """The segmentation as JSON values."""
        known = not np.isnan(self.stability.silhouette)
        return {
            "format": _FORMAT,
            "as_of_us": self.as_of_us,
            "rfm": self.rfm.to_manifest(),
            "lifecycle": self.lifecycle.to_manifest(),
            "behaviour": self.behaviour.to_manifest(),
            "n_customers": self.stability.n_customers,
            "silhouette": self.stability.silhouette if known else None,
            "rand_mean": self.stability.rand_mean if known else None,
            "rand_low": self.stability.rand_low if known else None,
        }

    @classmethod
    def from_manifest(cls, manifest: object) -> Segmentation:
        """The segmentation that `to_manifest` wrote.

        Raises:
            ArtefactError: a part is missing, of a wrong type, out of range, or of a newer format.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} is not an object")
        content = dict(manifest)
        if content.get("format") != _FORMAT:
            raise ArtefactError(f"{_WHAT} is not of format {_FORMAT}; load it with the version that wrote it")
        behaviour = Behaviour.from_manifest(strict_json.section(content, "behaviour", _WHAT), _WHAT)
        if any(set(names) != set(LANGUAGES) for names in behaviour.names):
            raise ArtefactError(f"{_WHAT} needs a name of each segment in exactly {', '.join(LANGUAGES)}")
        figures = {
            key: float("nan") if content.get(key) is None else strict_json.number(content, key, _WHAT, -1.0, 1.0)
            for key in ("silhouette", "rand_mean", "rand_low")
        }
        return cls(
            rfm=RfmScale.from_manifest(strict_json.section(content, "rfm", _WHAT), _WHAT),
            lifecycle=Lifecycle.from_manifest(strict_json.section(content, "lifecycle", _WHAT), _WHAT),
            behaviour=behaviour,
            stability=Stability(**figures, n_customers=strict_json.whole(content, "n_customers", _WHAT, 0, 1 << 53)),
            as_of_us=strict_json.whole(content, "as_of_us", _WHAT, -(1 << 62), 1 << 62),
        )
