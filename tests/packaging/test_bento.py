"""The Bento: it builds, holds exactly the serving side, serves from elsewhere and answers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from serving.settings import ServiceSettings, serve_command
from tests.tiny_shop import NOW_US, tiny_shop
from training.demo import free_port

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bento(tmp_path_factory):
    """Built from a clean checkout of what git tracks, as a release would be."""
    checkout, home = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("bentoml")
    for name in tracked("."):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", "--version", "test", str(checkout)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "bentos" / "holdfast" / "test"


def tracked(*folders):
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


def test_bento_holds_exactly_the_serving_side(bento):
    inside = {path.relative_to(bento / "src").as_posix() for path in (bento / "src").rglob("*") if path.is_file()}
    assert inside == tracked("features", "serving", "bentofile.yaml", "README.md")


def test_bento_asks_for_the_locked_serving_packages_alone(bento):
    asked = (bento / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    for package in ("mlflow", "implicit", "scikit-learn", "pandas", "matplotlib", "pytest"):
        assert f"{package}==" not in asked
    assert "bentoml==" in asked
    assert "://" not in asked


def test_bento_serves_from_elsewhere_and_answers(bento, tmp_path):
    shop = tiny_shop(tmp_path / "shop")
    shop.release("first")
    settings = ServiceSettings(
        shop.workspace.root, release="first", port=free_port(0), clock_shift_us=NOW_US - time.time_ns() // 1_000
    )
    command = serve_command(settings)
    own = {"BENTOML_CONFIG", "PYTHONPATH"}
    environment = {name: value for name, value in (os.environ | command.env).items() if name not in own}
    argv = [sys.executable, "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(settings.port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            ready = wait_until_ready(f"http://127.0.0.1:{settings.port}", process)
            assert ready.json()["release"] == "first", (tmp_path / "log").read_text()
            answer = httpx.get(f"http://127.0.0.1:{settings.port}/v1/customers/c3/churn", timeout=10)
            assert answer.status_code == 200
            assert 0 < answer.json()["churn_probability"] < 1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_until_ready(base, process):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{base}/readyz", timeout=5)
            if answer.status_code == 200:
                return answer
        time.sleep(0.2)
    raise AssertionError("the Bento was not ready within 90 s")
