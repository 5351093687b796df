"""Nothing that comes in, or lies in an artefact, can become code: read from the code, and watched while it answers."""

import ast
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import httpx
import pytest

from tests.serving.conftest import Running

ROOT = Path(__file__).parents[2]
MAKES_CODE = {"eval", "exec", "compile", "__import__", "execfile"}
BY_NAME = {"importlib.import_module", "pydoc.locate", "pkgutil.resolve_name", "yaml.load", "pyfunc.load_model"}

watched: list[str] | None = None


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook stays for the life of the process: it looks only while a test wants it to."""
    if watched is None:
        return
    if event.startswith(("pickle.", "os.system", "os.exec", "subprocess.")):
        watched.append(f"{event} {arguments}")
    elif event == "exec":
        code: CodeType = arguments[0]
        if code.co_name != "<module>" or not code.co_filename.endswith(".py"):  # a module that is imported late
            watched.append(f"exec {code.co_filename} {code.co_name}")


sys.addaudithook(watch)


@pytest.fixture
def seen() -> Iterator[list[str]]:
    """What happened while the test ran that could run code."""
    global watched  # noqa: PLW0603 - the hook cannot be given anything else
    watched = []
    yield watched
    watched = None


def test_the_hook_sees_what_it_shall(seen: list[str]) -> None:
    pickle.loads(pickle.dumps(Path("x")))
    eval("1 + 1")
    assert any(one.startswith("pickle.find_class") for one in seen)
    assert any(one.startswith("exec <string>") for one in seen)


@pytest.fixture
def no_unpickling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to load a pickle fails; LightGBM brings joblib where scikit-learn is installed, and none may use it."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    for module, names in (
        (pickle, ("load", "loads", "Unpickler")),
        (sys.modules.get("joblib"), ("load",)),
        (sys.modules.get("cloudpickle"), ("load", "loads")),
    ):
        for name in names if module is not None else ():
            monkeypatch.setattr(module, name, refuse)


@pytest.mark.usefixtures("no_unpickling")
def test_no_request_makes_the_service_unpickle_compile_or_run_anything(running: Running, seen: list[str]) -> None:
    pickled = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."

    async def talk(client: httpx.AsyncClient) -> list[int]:
        seen.clear()  # what opening a store and a release does is looked at by itself
        statuses = [
            (await client.post(path, content=pickled, headers={"content-type": kind})).status_code
            for path in ("/v1/events", "/v1/recommendations", "/v1/rank", "/v1/churn/score:batch")
            for kind in ("application/json", "application/vnd.bentoml+pickle", "application/x-python-serialize")
        ]
        for path in (
            "/v1/customers/c1/churn?include=reasons,actions,forecast,trend,segment,what_if",
            "/v1/recommendations?customer_id=c1&filter=price_minor%20%3C%20__import__('os')",
            "/v1/items/apple/similar",
            "/v1/customers",
            "/v1/scores/changes",
            "/v1/warnings",
            "/v1/releases",
            "/v1/rollouts",
            "/metrics",
            "/openapi.json",
        ):
            await client.get(path)
        answer = await client.post("/v1/churn/score:batch", json={"customer_ids": [f"c{n}" for n in range(30)]})
        return [*statuses, answer.status_code]

    statuses = running.run(talk)
    assert statuses[:12] == [400, 415, 415] * 4
    assert statuses[-1] == 200
    assert seen == []


@pytest.mark.slow
def test_loading_a_release_unpickles_nothing(running: Running, seen: list[str]) -> None:
    running.call("GET", "/readyz")
    assert [one for one in seen if one.startswith(("pickle.", "os.", "subprocess."))] == []


def test_the_server_s_modules_never_make_code_out_of_text() -> None:
    found = []
    for package in ("features", "serving"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    fixed = bool(node.args) and ast.unparse(node.args[0]).strip("'\"").isupper()  # a constant of ours
                    if name in MAKES_CODE or (name.endswith(tuple(BY_NAME)) and not fixed):
                        found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert found == []


@pytest.mark.slow
def test_the_server_s_modules_bring_neither_mlflow_nor_what_trains(tmp_path: Path) -> None:
    lines = "import sys, serving.app, serving.runtime, serving.api.events\nprint('\\n'.join(sys.modules))"
    environment = os.environ | {"HOLDFAST_WORKSPACE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, env=environment, capture_output=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.decode().split()}
    assert {"serving", "starlette"} <= loaded
    assert loaded & {"mlflow", "dill", "training", "implicit", "optuna", "shap"} == set()
