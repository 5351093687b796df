"""The house rules that a reader of the code can rely on, read from the code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("features", "serving", "training")
MAY_IMPORT = {
    "features": {"features"},
    "serving": {"features", "serving"},
    "training": {"features", "serving", "training"},
}
RESERVED = {
    "mlflow": {"training/tracking.py", "training/registry.py"},
    "bentoml": {"serving/service.py", "training/releasing.py"},
    "lightgbm": {"serving/trees.py", "training/boosting.py", "training/ranker.py"},
    "implicit": {"training/sources/als.py"},
    "optuna": {"training/tuning.py"},
    "alembic": {path.relative_to(ROOT).as_posix() for path in (ROOT / "serving" / "migrations").rglob("*.py")},
    "psycopg": {"serving/store_engines.py"},
}
CODE_IN_DATA = {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}


def modules(*packages):
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield (node.module or "").split(".")[0]


def named(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_features_serving_training(package):
    against = [
        f"{named(path)} imports {name}"
        for path in modules(package)
        for name in imported(path)
        if name in set(PACKAGES) - MAY_IMPORT[package]
    ]
    assert len(modules(package)) > 5
    assert against == []


@pytest.mark.parametrize("library", RESERVED)
def test_library_is_imported_only_where_it_is_wrapped(library):
    users = {named(path) for path in modules(*PACKAGES) if library in set(imported(path))}
    assert users, f"nothing uses {library}"
    assert users <= RESERVED[library]


def test_nothing_that_can_carry_code_is_imported():
    assert [named(path) for path in modules(*PACKAGES) if CODE_IN_DATA & set(imported(path))] == []


def test_no_array_is_loaded_with_pickle_allowed():
    for path in modules(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"np.load", "numpy.load"}:
                allow = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert [ast.unparse(value) for value in allow] == ["False"], f"{named(path)}:{node.lineno}"


def test_only_the_edges_read_the_clock():
    """`as_of` is an argument below the edges; the edges are the command line and the service module."""
    clocks = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "date.today"}
    readers = {
        named(path)
        for path in modules(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in clocks
    }
    assert {path for path in readers if not path.startswith("training/cli/")} <= {"serving/service.py"}


def test_no_module_is_called_utils_or_helpers():
    assert [named(path) for path in modules(*PACKAGES) if path.stem in {"utils", "helpers", "common", "misc"}] == []


def test_no_test_folder_is_a_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []
