import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from features.catalogue import catalogue_markdown
from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, ConfigurationError, DataError, TimeError
from features.instants import format_instant
from features.tables import IDENTITIES, read_table
from features.workspace import Workspace
from serving.releases import load_named
from serving.snapshots import Snapshots, StoredFeatures
from training.cli.context import CliContext
from training.cli.models import NOT_PROMOTED, register

ROOT = Path(__file__).parents[2]
QUICK = """
[churn]
max_train_cutoffs = 3
min_rows = 50
min_each_outcome = 10
full_model_each_outcome = 10
bootstrap_replicates = 40
[churn.problem]
horizons_days = [20, 40, 60]
eligible_days = 120
[churn.trees]
min_rows_in_leaf = 20
max_rounds = 60
[recommender.sources]
use = ["als", "popularity", "buy_again"]
[recommender.sources.als]
factors = 8
iterations = 3
[evaluation]
n_replicates = 40
"""


class CommandLine:
    """The commands as the entry point would run them, on one workspace."""

    def __init__(self, workspace: Workspace, as_json: bool = True) -> None:
        self.app = typer.Typer()
        register(self.app)
        self.context = CliContext(workspace, None, as_json)

    def run(self, *words: str) -> Result:
        result = CliRunner().invoke(self.app, list(words), obj=self.context)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *words: str) -> dict:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def line(shop: Workspace) -> CommandLine:
    (shop.root / "holdfast.toml").write_text(QUICK)
    return CommandLine(shop)


@pytest.mark.slow
def test_the_road_from_training_to_a_score_file(line: CommandLine, shop: Workspace, tmp_path: Path) -> None:
    churn = line.json("train", "churn")
    recommender = line.json("train", "recommender")
    assert (churn["model"], churn["version"]) == ("holdfast-churn", 1)
    assert 0.5 < churn["metrics"]["auc"] < 1
    assert {"recency", "logistic", "bg_nbd", "bg_nbd_published"} == set(churn["baselines"])
    assert recommender["model"] == "holdfast-recommender"

    with pytest.raises(ArtefactError, match="no champion"):
        line.run("release")
    for model in ("churn", "recommender"):
        promoted = line.json("promote", model, "--force", "--why", "the first one")
        assert promoted["promoted"]
        assert any("the first one" in reason for reason in promoted["reasons"])

    released = line.json("release")
    assert load_named(released["folder"], shop).name == released["name"]
    assert released["provenance"]["churn"]["run_id"] == churn["run_id"]

    scored = line.json("score", str(tmp_path / "scores.csv"))
    assert scored["release"] == released["name"]
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == scored["n_scored"] + 1

    line.json("train", "churn")
    compared = line.json("compare", "churn", "2", "champion")
    assert compared["difference"] == [0.0, 0.0]
    moved = line.json("compare", released["name"], "2", "--out", str(tmp_path / "movers.csv"))
    assert (moved["first"], moved["second"]) == (released["name"], "holdfast-churn 2")
    assert moved["changed"] == moved["written"] == 0  # trained on the same log by the same settings
    assert line.json("monitor", released["name"])["past"]
    assert not shop.monitored.exists()
    assert line.json("monitor") == json.loads(shop.monitored.read_text())
    with pytest.raises(ConfigurationError, match="champion already"):
        line.run("promote", "churn", "--version", "1")


@pytest.mark.slow
def test_a_challenger_that_is_not_better_is_refused_with_an_exit_code_of_its_own(line: CommandLine) -> None:
    line.json("train", "recommender")
    line.json("promote", "recommender", "--force", "--why", "the first one")
    line.json("train", "recommender")
    refused = line.run("promote", "recommender")
    assert refused.exit_code == NOT_PROMOTED
    assert json.loads(refused.stdout)["promoted"] is False
    told = CommandLine(line.context.workspace, as_json=False).run("promote", "recommender", "--version", "2").stdout
    assert 'all the same: holdfast promote recommender --version 2 --force --why "..."' in told
    assert line.json("compare", "recommender", "2", "1")["metric"] == "ndcg_at_10"


def test_forcing_without_a_reason_is_refused(line: CommandLine) -> None:
    with pytest.raises(ConfigurationError, match="--why"):
        line.run("promote", "churn", "--force")


def test_promoting_what_is_not_there_says_so(line: CommandLine) -> None:
    with pytest.raises(ArtefactError, match="no challenger of holdfast-churn"):
        line.run("promote", "churn")


def test_a_misspelt_setting_is_refused_by_every_command_that_reads_settings(line: CommandLine, shop: Workspace) -> None:
    (shop.root / "holdfast.toml").write_text("[churn]\ngap_dais = 1\n")
    for words in (("train", "churn"), ("backtest", "churn"), ("promote", "churn"), ("release",), ("score", "x.csv")):
        with pytest.raises(ConfigurationError, match=r"churn\.gap_dais"):
            line.run(*words)


def stored_features(shop: Workspace) -> StoredFeatures:
    snapshots = Snapshots(shop.snapshots, CHURN_FEATURES)
    snapshots.poll()
    assert snapshots.stored is not None
    return snapshots.stored


def test_features_are_built_where_the_service_looks_for_them(line: CommandLine, shop: Workspace) -> None:
    built = line.json("features", "build")
    found = stored_features(shop)
    assert format_instant(found.as_of_us) == built["as_of"]
    assert len(found.rows) == built["n_customers"]
    earlier = line.json("features", "build", "--as-of", "2025-06-01T00:00:00+02:00")
    assert earlier["as_of"] == "2025-05-31T22:00:00Z"
    assert stored_features(shop).as_of_us == found.as_of_us


def test_one_customers_features_are_those_of_the_snapshot(line: CommandLine, shop: Workspace) -> None:
    line.json("features", "build")
    stored = stored_features(shop)
    identities = {
        row["customer_key"]: row["customer_id"] for row in read_table(shop.identities, IDENTITIES).to_pylist()
    }
    key = next(iter(stored.rows))
    shown = line.json("features", "show", identities[key])
    row = stored.row(key).tolist()
    assert list(shown["features"]) == list(CHURN_FEATURES.names)
    assert list(shown["features"].values()) == [None if value != value else value for value in row]


def test_a_customers_features_are_shown_with_their_meaning(shop: Workspace) -> None:
    customer = read_table(shop.identities, IDENTITIES)["customer_id"][0].as_py()
    shown = CommandLine(shop, as_json=False).run("features", "show", customer)
    assert shown.exit_code == 0
    assert "meaning" in shown.stdout


def test_an_unknown_customer_is_refused_without_repeating_the_id(line: CommandLine) -> None:
    with pytest.raises(DataError) as refused:
        line.run("features", "show", "somebody@example.com")
    assert "somebody" not in str(refused.value)


def test_a_naive_instant_is_refused(line: CommandLine) -> None:
    with pytest.raises(DataError, match="no offset"):
        line.run("features", "build", "--as-of", "2025-06-01T00:00:00")


@pytest.mark.parametrize("command", [("features", "build"), ("features", "show", "C1"), ("score", "scores.csv")])
def test_an_instant_in_the_future_is_refused(line: CommandLine, command: tuple[str, ...]) -> None:
    with pytest.raises(TimeError, match=r"--as-of 2999-01-01T00:00:00Z lies in the future"):
        line.run(*command, "--as-of", "2999-01-01T00:00:00Z")
    assert not line.context.workspace.snapshots.exists()


def test_the_feature_catalogue_in_docs_is_current(line: CommandLine, tmp_path: Path) -> None:
    line.run("features", "catalogue", "--out", str(tmp_path / "features.md"))
    written = (tmp_path / "features.md").read_text()
    assert written == catalogue_markdown(CHURN_FEATURES)
    assert (ROOT / "docs" / "features.md").read_text() == written, (
        "run: holdfast features catalogue --out docs/features.md"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("train", "churn"),
        ("train", "recommender"),
        ("backtest",),
        ("compare",),
        ("monitor",),
        ("promote",),
        ("release",),
        ("score",),
        ("features", "build"),
        ("features", "show"),
        ("features", "catalogue"),
    ],
)
def test_help_shows_an_example(line: CommandLine, words: tuple[str, ...]) -> None:
    shown = line.run(*words, "--help")
    assert shown.exit_code == 0
    assert f"holdfast {' '.join(words)}" in " ".join(shown.stdout.split())


def test_help_does_not_import_what_trains(tmp_path: Path) -> None:
    import subprocess
    import sys

    heavy = ("mlflow", "bentoml", "lightgbm", "implicit", "sklearn", "matplotlib")
    code = f"import sys, training.cli.models; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_undefined_figure_of_a_backtest_is_null_and_the_json_can_be_read(tmp_path, monkeypatch):
    from types import SimpleNamespace

    rows = [{"model": "ours", "customers": 3, "auc": float("nan")}]
    found = SimpleNamespace(rows=lambda: rows, table=lambda: rows, skipped=(), sentences=())
    done = SimpleNamespace(backtest=found, card="card.html")
    monkeypatch.setattr("training.jobs.backtest_churn_job", lambda *_, **__: done)
    printed = CommandLine(Workspace(tmp_path)).run("backtest", "churn").stdout
    row = json.loads(printed, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))["rows"][0]
    assert row == {"model": "ours", "customers": 3, "auc": None}
