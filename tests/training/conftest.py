"""Fixtures shared by the tests of tracking, registry, releasing and jobs."""

import shutil
from pathlib import Path

import pytest

from features.workspace import Workspace


@pytest.fixture(scope="session")
def laid_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables; laying them takes over a second, copying the file does not."""
    from training.tracking import open_tracking

    return open_tracking(Workspace(tmp_path_factory.mktemp("laid"))).database


@pytest.fixture
def workspace(tmp_path: Path, laid_mlflow_database: Path) -> Workspace:
    """A workspace whose MLflow database has its tables and no run."""
    made = Workspace(tmp_path / "shop")
    made.mlflow_database.parent.mkdir(parents=True)
    shutil.copyfile(laid_mlflow_database, made.mlflow_database)
    return made


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A simulated shop of 400 customers and 500 days in an event log, with identities; read it, do not change it."""
    import pyarrow as pa

    from features.event_log import EventLog
    from features.pseudonyms import Pseudonyms
    from features.tables import IDENTITIES, upsert
    from training.simulate import SimulationSettings, inside, simulate

    made = Workspace(tmp_path_factory.mktemp("small"))
    pseudonyms = Pseudonyms.create(made.pseudonym_keys)
    shop = simulate(SimulationSettings(scale=0.02, days=500), 7)
    events, _ = inside(shop, pseudonyms.of_column)
    EventLog.create(made.event_log, n_buckets=4).append(events)
    ids = shop.customers["customer_id"].combine_chunks()
    upsert(made.identities, IDENTITIES, pa.table({"customer_key": pseudonyms.of_column(ids), "customer_id": ids}))
    return made


@pytest.fixture
def shop(workspace: Workspace, small_shop: Workspace) -> Workspace:
    """The small shop's log, keys and identities in a workspace of the test's own."""
    shutil.copytree(small_shop.root, workspace.root, dirs_exist_ok=True)
    return workspace


@pytest.fixture(scope="session")
def quick_settings():
    """Settings under which the small shop trains in about a second."""
    from training.churn_problem import ChurnProblem
    from training.churn_settings import ChurnSettings, TreeSettings
    from training.fitted_sources import SourceSettings
    from training.recommender import RecommenderFitSettings
    from training.recommender_evaluation import EvaluationSettings
    from training.settings import Settings
    from training.sources.als import AlsSettings

    churn = ChurnSettings(
        problem=ChurnProblem(horizons_days=(20, 40, 60), eligible_days=120),
        max_train_cutoffs=3,
        min_rows=50,
        min_each_outcome=10,
        full_model_each_outcome=10,
        bootstrap_replicates=40,
        trees=TreeSettings(min_rows_in_leaf=20, max_rounds=60, early_stopping_rounds=10),
    )
    return Settings(
        churn=churn,
        recommender=RecommenderFitSettings(sources=SourceSettings(als=AlsSettings(factors=8, iterations=3))),
        evaluation=EvaluationSettings(n_replicates=40),
    )
