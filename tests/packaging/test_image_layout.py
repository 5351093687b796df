"""No image can be built here; so the service runs as the image would run it, in a mount namespace of its own.

The packages of the serving lock alone, code on PYTHONPATH, user 10001 without capabilities or new privileges,
everything read-only but the shop and /tmp. What it asks of the kernel is written down and held against what the unit
of systemd allows.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import httpx
import pytest

from tests.tiny_shop import tiny_shop
from training.demo import free_port

TOOLS = ("unshare", "setpriv", "strace", "systemd-analyze")
pytestmark = [
    pytest.mark.packaging,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file system read-only for one process"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"one of {', '.join(TOOLS)} is not here"),
]

ROOT = Path(__file__).parents[2]
NOBODY = 10001
SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/app /mnt/venv /mnt/python /mnt/shop
cp -r "$CODE/features" "$CODE/serving" "$CODE/training" /mnt/app/
mount --bind "$VENV" /mnt/venv
mount --bind "$PYTHON" /mnt/python
mount --bind "$SHOP" /mnt/shop
case "$PYTHON" in "$OWN_HOME"/*) mount -t tmpfs -o mode=755 tmpfs "$OWN_HOME"; mkdir -p "$PYTHON";; esac
mount --bind /mnt/python "$PYTHON"
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -o bind,remount,ro /
mount -o bind,remount,ro /mnt
cd /mnt/app
exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all \
  env -i PATH=/mnt/venv/bin:/usr/bin:/bin PYTHONPATH=/mnt/app PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
  HOLDFAST_WORKSPACE=/mnt/shop HOLDFAST_PORT="$PORT" HOLDFAST_LOG_FORMAT=json \
  strace -f -c -o /mnt/shop/calls /mnt/venv/bin/python -m training.cli.main serve
"""


@cache
def members(group):
    """The system calls of one of systemd's groups, those of the groups in it too."""
    told = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    words = [line.strip() for line in told.stdout.splitlines()[1:]]
    named = [word for word in words if word and not word.startswith("#")]
    return frozenset().union(*(members(word) if word.startswith("@") else {word} for word in named))


def allowed():
    unit = (ROOT / "deploy" / "holdfast.service").read_text(encoding="utf-8")
    calls = members("@default")
    for sign, groups in re.findall(r"^SystemCallFilter=(~?)(.+)$", unit, re.MULTILINE):
        for group in groups.split():
            calls = calls - members(group) if sign else calls | members(group)
    return calls


@pytest.fixture
def packages(tmp_path):
    """An environment made as the image's first stage makes it."""
    uv, made = [sys.executable, "-m", "uv"], tmp_path / "venv"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, made], check=True)
    install = [*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", made / "bin" / "python"]
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "requirements" / "serving.txt"], check=True)
    return made


@pytest.fixture
def answers(tmp_path, packages):
    """What the service answers, how it ended, and the system calls that it made."""
    shop, port = tiny_shop(tmp_path / "shop"), free_port(0)
    shop.release("first")
    for path in (shop.workspace.root, *shop.workspace.root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    told = {"CODE": ROOT, "VENV": packages, "PYTHON": Path(sys.base_prefix).resolve()}
    told |= {"OWN_HOME": pwd.getpwuid(os.geteuid()).pw_dir, "SHOP": shop.workspace.root, "PORT": port}
    environment = {name: str(value) for name, value in told.items()} | {"PATH": os.environ["PATH"]}
    with (tmp_path / "log").open("wb") as log:
        command = ["unshare", "--mount", "bash", "-c", SCRIPT]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            ready = wait_until_ready(f"http://127.0.0.1:{port}", process, tmp_path / "log")
            scored = httpx.get(f"http://127.0.0.1:{port}/v1/customers/c3/churn", timeout=20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(40)
    lines = (shop.workspace.root / "calls").read_text().splitlines()[2:]
    return ready, scored, {line.split()[-1] for line in lines if line and line[0] != "-"} - {"total"}


def wait_until_ready(base, process, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{base}/readyz", timeout=5)
            if answer.status_code == 200:
                return answer
        time.sleep(0.3)
    raise AssertionError(log.read_text()[-2_000:])


def test_service_runs_on_a_read_only_system_as_nobody_and_asks_only_for_calls_that_the_unit_allows(answers):
    ready, scored, calls = answers
    assert ready.json()["release"] == "first"
    assert scored.status_code == 200
    assert len(calls) > 50
    assert calls <= allowed()
