import numpy as np
import pytest

from features.errors import ArtefactError
from tests.segment_tables import table_of
from tests.tiny_shop import churn_model
from training.band_costs import loss_curve
from training.churn_files import ChurnParts, read_churn_parts
from training.segment_settings import SegmentSettings
from training.segments import fit_segments


def parts() -> ChurnParts:
    losses = loss_curve(np.array([0.9, 0.2]), np.array([100.0, 50.0]), horizon_days=90, n_eligible=2)
    return ChurnParts(churn_model(0.0), losses, fit_segments(table_of({}, {}), SegmentSettings()))


def test_parts_of_a_version_survive_their_files():
    written = parts().to_files()

    assert set(written) >= {"churn.json", "losses.json", "segments.json"}
    assert read_churn_parts(written).to_files() == written


def test_model_alone_is_a_version_too():
    found = read_churn_parts(churn_model(0.0).to_files())

    assert (found.losses, found.segments) == (None, None)


@pytest.mark.parametrize("name", ["losses.json", "segments.json"])
def test_altered_part_is_refused(name):
    with pytest.raises(ArtefactError):
        read_churn_parts({**parts().to_files(), name: b"{}"})


def test_unknown_file_is_refused():
    with pytest.raises(ArtefactError):
        read_churn_parts({**parts().to_files(), "more.json": b"{}"})
