"""What a registered churn version is made of: the model, and beside it what a release adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from features.table_features import TableFeatures
from serving import strict_json
from serving.churn_model import ChurnModel
from serving.segments import Segmentation
from training.band_costs import LossCurve

__all__ = ["ChurnParts", "read_churn_parts"]

_LOSSES = "losses.json"
_SEGMENTS = "segments.json"
_TABLE = "table.json"


@dataclass(frozen=True, eq=False)
class ChurnParts:
    """losses: what bands are chosen from by costs; None where no value is known.

    segments: None where the version was trained without, as from a table. table: how the table is read that the model
    was trained on; None where it was the event log.
    """

    model: ChurnModel
    losses: LossCurve | None = None
    segments: Segmentation | None = None
    table: TableFeatures | None = None

    def to_files(self) -> dict[str, bytes]:
        """The files to register; `read_churn_parts` reads them again."""
        files = self.model.to_files()
        if self.losses is not None:
            files[_LOSSES] = self.losses.to_file()
        if self.segments is not None:
            files[_SEGMENTS] = strict_json.write_object(self.segments.to_manifest())
        if self.table is not None:
            files[_TABLE] = strict_json.write_object(self.table.to_manifest())
        return files


def read_churn_parts(files: Mapping[str, bytes]) -> ChurnParts:
    """The parts of a registered version.

    Raises:
        ArtefactError: a file is missing, extra, truncated, altered, or of another format.
    """
    losses, segments, table = (files.get(name) for name in (_LOSSES, _SEGMENTS, _TABLE))
    beside = (_LOSSES, _SEGMENTS, _TABLE)
    return ChurnParts(
        model=ChurnModel.from_files({name: data for name, data in files.items() if name not in beside}),
        losses=None if losses is None else LossCurve.from_file(losses),
        segments=None if segments is None else Segmentation.from_manifest(strict_json.read_object(segments, _SEGMENTS)),
        table=None if table is None else TableFeatures.from_manifest(strict_json.read_object(table, _TABLE)),
    )
