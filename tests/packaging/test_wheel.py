"""The wheel, built, installed into a clean environment and used from elsewhere. Needs the package index."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def run(*command, cwd, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "HOLDFAST"))}
    done = subprocess.run(command, cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def tracked(*folders):
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders, cwd=ROOT)
    return {name for name in listed.split("\0") if name and (ROOT / name).exists()}


def test_wheel_holds_exactly_the_three_packages(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == tracked("features", "serving", "training")
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_installed_wheel_runs_doctor_from_elsewhere(wheel, tmp_path):
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, str(tmp_path / "env"), cwd=tmp_path)
    run(
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)),
        *("--constraint", str(ROOT / "requirements" / "dev.txt"), str(wheel)),
        cwd=tmp_path,
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(str(python), "-c", "import features, serving, training; print(features.__file__)", cwd=elsewhere)
    assert str(tmp_path / "env") in where
    findings = json.loads(run(str(python.with_name("holdfast")), "--json", "doctor", cwd=elsewhere))
    states = {finding["what"]: finding["state"] for finding in findings}
    assert states["python"] == states["packages: base"] == states["shipped mappings"] == "ok"
    assert states["packages: training"] == "absent"
    assert "broken" not in states.values()
