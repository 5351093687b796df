"""A version of one small shop compared with a variant of itself, and monitored; trained once for all tests here."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.csv as pa_csv
import pytest
import typer
from typer.testing import CliRunner

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, ConfigurationError
from features.instants import DAY_US, format_instant, parse_instant
from features.workspace import Workspace
from serving.bands import Bands
from training.cli.context import CliContext
from training.cli.models import register
from training.jobs import train_churn_job
from training.log_data import read_log
from training.monitoring import monitor_churn, read_reference
from training.registry import Registry
from training.release_moves import Contender, compare_releases, contender, write_movers
from training.tracking import open_tracking


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_shop, laid_mlflow_database, quick_settings):
    """A workspace with one version of the churn model."""
    workspace = Workspace(tmp_path_factory.mktemp("moves") / "shop")
    shutil.copytree(small_shop.root, workspace.root)
    workspace.mlflow_database.parent.mkdir(parents=True)
    shutil.copyfile(laid_mlflow_database, workspace.mlflow_database)
    train_churn_job(workspace, quick_settings, code_version="abc")
    return workspace


@pytest.fixture(scope="module")
def registry(made):
    return Registry(open_tracking(made))


@pytest.fixture(scope="module")
def sides(made, registry, quick_settings):
    """The version as it is, and one whose trees count half."""
    first = contender("1", made, registry, quick_settings)
    return [first, replace(first, name="halved", model=replace(first.model, tree_weight=first.model.tree_weight / 2))]


@pytest.fixture(scope="module")
def moves(made, sides, quick_settings):
    return compare_releases(made, *sides, quick_settings)


def test_every_eligible_customer_is_compared_as_the_service_would_score_them(made, sides, moves, quick_settings):
    assert moves.moves.n == moves.customer_keys.size > 50
    assert moves.as_of_us == read_log(made).known_us
    assert moves.moves.table.sum() == moves.moves.n
    one = sides[0]
    codes = np.searchsorted([one.bands.medium, one.bands.high], moves.moves.first.probabilities, side="right")
    np.testing.assert_array_equal(moves.moves.before, codes)


def test_the_causes_of_a_change_add_up_for_those_who_change(moves):
    found = moves.moves
    assert found.changed.any()
    assert found.main_cause.size == found.changed.sum()
    assert all(transition.causes for transition in found.transitions)
    assert sum(transition.n for transition in found.transitions) == found.changed.sum()


def test_a_version_compared_with_itself_moves_nobody(made, sides, quick_settings):
    found = compare_releases(made, sides[0], sides[0], quick_settings).to_json()
    assert (found["changed"], found["transitions"], found["mean_move_abs"]) == (0, [], 0.0)
    assert (found["reasons"]["first_three_kept"], found["reasons"]["first_kept"]) == (1.0, 1.0)
    assert found["customers"] == sum(sum(row.values()) for row in found["table"].values())


def test_other_cutoffs_alone_move_by_cutoffs(made, sides, quick_settings):
    stricter = replace(sides[0], name="stricter", bands=Bands(0.01, 0.02))
    found = compare_releases(made, sides[0], stricter, quick_settings).moves
    assert found.by_cutoffs.sum() == found.changed.sum() > 0
    np.testing.assert_array_equal(found.rises, 0.0)


def test_the_file_holds_exactly_the_customers_who_change_band(made, moves, tmp_path):
    n = write_movers(made, moves, tmp_path / "movers.csv")
    rows = pa_csv.read_csv(tmp_path / "movers.csv").to_pylist()
    assert n == len(rows) == moves.moves.changed.sum()
    assert all(row["band_before"] != row["band_after"] for row in rows)
    assert {row["moved_by"] for row in rows} <= {"score", "cut-offs"}
    # the shop's own ids, not our pseudonyms
    assert not {row["customer_id"] for row in rows} & set(moves.customer_keys)


def test_every_mover_names_what_was_compared_and_as_of_when(made, moves, tmp_path):
    write_movers(made, moves, tmp_path / "movers.csv")
    rows = pa_csv.read_csv(
        tmp_path / "movers.csv", convert_options=pa_csv.ConvertOptions(column_types={"as_of": "string"})
    ).to_pylist()
    told = {(row["compared_before"], row["compared_after"], row["as_of"]) for row in rows}
    assert told == {(moves.moves.first.name, moves.moves.second.name, format_instant(moves.as_of_us))}
    assert [path.name for path in tmp_path.iterdir()] == ["movers.csv"]


def test_models_of_different_questions_are_refused(made, sides, quick_settings):
    shorter = replace(sides[1], model=replace(sides[1].model, horizons_days=(20, 40), timing=None))
    with pytest.raises(ArtefactError, match="different questions"):
        compare_releases(made, sides[0], shorter, quick_settings)
    wider = replace(sides[1], problem=replace(sides[1].problem, eligible_days=300))
    with pytest.raises(ArtefactError, match="different questions"):
        compare_releases(made, sides[0], wider, quick_settings)
    older = replace(sides[1], model=replace(sides[1].model, fingerprint="0" * 64))
    with pytest.raises(ArtefactError, match="feature set"):
        compare_releases(made, sides[0], older, quick_settings)


def test_a_name_that_is_neither_release_nor_version_is_refused(made, registry, quick_settings):
    with pytest.raises(ArtefactError, match="no release of this name"):
        contender("r-unknown", made, registry, quick_settings)
    with pytest.raises(ArtefactError, match="no 9 of holdfast-churn"):
        contender("9", made, registry, quick_settings)


def test_monitoring_right_after_training_finds_the_test_snapshot_proven(made, sides, quick_settings):
    found = monitor_churn(made, sides[0], quick_settings.churn)
    version = sides[0].version
    assert [snapshot.as_of_us for snapshot in found.past][-1] == parse_instant(version.tags["test_as_of"])
    assert found.past[0].as_of_us >= parse_instant(version.tags["learnt_until"])
    assert len(found.inputs) == len(CHURN_FEATURES)
    assert found.n_customers == found.estimate.n > 50
    assert f"At {len(found.past)} past snapshots" in found.sentences[2]
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["customers"] == found.n_customers


def test_a_snapshot_that_the_model_learnt_from_proves_nothing(made, sides, quick_settings):
    version = replace(sides[0].version, tags={**sides[0].version.tags, "learnt_until": "2100-01-01T00:00:00Z"})
    found = monitor_churn(made, replace(sides[0], version=version), quick_settings.churn)
    assert found.past == ()
    assert "unproven" in found.sentences[2]


def test_monitoring_an_earlier_instant_knows_no_later_outcome(made, sides, quick_settings):
    now = monitor_churn(made, sides[0], quick_settings.churn)
    earlier = monitor_churn(made, sides[0], quick_settings.churn, as_of_us=now.past[-1].as_of_us + 59 * DAY_US)
    assert all(snapshot.as_of_us < now.past[-1].as_of_us for snapshot in earlier.past)


def test_an_altered_reference_is_refused(made, sides, tmp_path):
    version = sides[0].version
    folder = tmp_path / "model"
    shutil.copytree(version.folder.parent / "monitoring", tmp_path / "monitoring")
    moved = replace(version, folder=folder)
    assert read_reference(moved).fingerprint == CHURN_FEATURES.fingerprint()
    path = tmp_path / "monitoring" / "drift.json"
    path.write_bytes(path.read_bytes().replace(b'"counts"', b'"counts" '))
    with pytest.raises(ArtefactError, match="altered since training"):
        read_reference(moved)
    path.unlink()
    with pytest.raises(ArtefactError, match="without drift"):
        read_reference(moved)


def test_a_release_from_elsewhere_cannot_be_monitored(made, sides, quick_settings):
    stranger = Contender("r-elsewhere", sides[0].model, sides[0].bands)
    with pytest.raises(ArtefactError, match="r-elsewhere is not in this workspace"):
        monitor_churn(made, stranger, quick_settings.churn)


class CommandLine:
    def __init__(self, workspace, as_json):
        self.app, self.context = typer.Typer(), CliContext(workspace, None, as_json)
        register(self.app)

    def run(self, *words):
        result = CliRunner().invoke(self.app, list(words), obj=self.context)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout


def test_the_commands_answer_people_and_scripts(made, quick_settings, tmp_path):
    out = tmp_path / "movers.csv"
    said = json.loads(CommandLine(made, as_json=True).run("compare", "1", "challenger", "--out", str(out)))
    assert said["written"] == len(out.read_text().splitlines()) - 1 == said["changed"] == 0
    shown = CommandLine(made, as_json=False).run("compare", "1", "challenger")
    assert f"0 of {said['customers']:,} customers" in shown
    assert "past" in json.loads(CommandLine(made, as_json=True).run("monitor", "1"))
    assert "inputs have moved since training" in CommandLine(made, as_json=False).run("monitor", "1")


@pytest.mark.parametrize("words", [("1",), ("1", "2", "3"), ("churn", "1", "2", "3")])
def test_another_number_of_names_is_refused_in_words(made, words):
    with pytest.raises(ConfigurationError, match=r"compare .*takes two"):
        CommandLine(made, as_json=True).run("compare", *words)
