"""What a registered churn version is made of: the model, and beside it what a release adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving import strict_json
from serving.churn_model import ChurnModel
from serving.segments import Segmentation
from training.band_costs import LossCurve

__all__ = ["ChurnParts", "read_churn_parts"]

_LOSSES = "losses.json"
_SEGMENTS = "segments.json"


@dataclass(frozen=True, eq=False)
class ChurnParts:
    """losses: what bands are chosen from by costs; None where no value is known.

    segments: None where the version was trained without, as from a table.
    """

    model: ChurnModel
    losses: LossCurve | None = None
    segments: Segmentation | None = None

    def to_files(self) -> dict[str, bytes]:
        """The files to register; `read_churn_parts` reads them again."""
        files = self.model.to_files()
        if self.losses is not None:
            files[_LOSSES] = self.losses.to_file()
        if self.segments is not None:
            files[_SEGMENTS] = strict_json.write_object(self.segments.to_manifest())
        return files


def read_churn_parts(files: Mapping[str, bytes]) -> ChurnParts:
    """The parts of a registered version.

    Raises:
        ArtefactError: a file is missing, extra, truncated, altered, or of another format.
    """
    losses, segments = files.get(_LOSSES), files.get(_SEGMENTS)
    return ChurnParts(
        model=ChurnModel.from_files({name: data for name, data in files.items() if name not in (_LOSSES, _SEGMENTS)}),
        losses=None if losses is None else LossCurve.from_file(losses),
        segments=None if segments is None else Segmentation.from_manifest(strict_json.read_object(segments, _SEGMENTS)),
    )
