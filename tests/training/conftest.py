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
