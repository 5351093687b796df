"""What stands in deploy/ passes its linters, and names only metrics, settings and probes that exist."""

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import compose_spec
import pytest
import yaml

from serving.app import create_app
from serving.metrics import Metrics
from serving.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
BOARD = DEPLOY / "grafana" / "holdfast.json"
METRIC = re.compile(r"\bholdfast_[a-z_]+\b")
PARTS = re.compile(r"_(bucket|sum|count|total|created)$")

packaging = pytest.mark.packaging


def read(path):
    return path.read_text(encoding="utf-8")


def rules():
    (group,) = yaml.safe_load(read(ALERTS))["groups"]
    return group["rules"]


def questions():
    """What the dashboard asks, with an interval in the place of Grafana's own."""
    panels = json.loads(read(BOARD))["panels"]
    return [
        target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h")
        for panel in panels
        for target in panel["targets"]
    ]


def documents():
    return [one for path in MANIFESTS for one in yaml.safe_load_all(read(path))]


def of_kind(kind):
    return [one for one in documents() if one["kind"] == kind]


def known_metrics():
    return {family.name for family in Metrics()._registry.collect()}


def settings():
    return {f"HOLDFAST_{name.upper()}" for name in ServiceSettings.__dataclass_fields__}


def lint(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.parametrize("asked", [*(rule["expr"] for rule in rules()), *questions()])
def test_alarm_or_panel_asks_for_metrics_that_there_are(asked):
    named = {PARTS.sub("", name) for name in METRIC.findall(asked)} or {"up"}
    assert named <= known_metrics() | {"up"}


def test_every_metric_of_ours_is_shown_on_the_dashboard():
    shown = {PARTS.sub("", name) for asked in questions() for name in METRIC.findall(asked)}
    assert known_metrics() - shown == {"holdfast_rollout_judged_timestamp_seconds"}, "the alarm alone reads that one"


def test_every_alarm_has_a_runbook_and_every_runbook_an_alarm():
    headings = re.findall(r"^### (Holdfast\w+)$", read(ROOT / "docs" / "operations.md"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_deployments_set_only_settings_that_the_service_knows():
    texts = [read(path) for path in (*MANIFESTS, DEPLOY / "compose.yaml", DEPLOY / "Dockerfile")]
    named = {name for text in texts for name in re.findall(r"\bHOLDFAST_[A-Z_]+\b", text)}
    assert len(named) > 5
    assert named <= settings()


def test_probes_ask_routes_that_there_are():
    routes = {route.path for route in create_app(ServiceSettings, None, Metrics(), new_id=str).routes}
    (workload,) = of_kind("StatefulSet")
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert asked == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert set(asked.values()) <= routes
    assert "/readyz" in read(DEPLOY / "Dockerfile").partition("HEALTHCHECK")[2]


def test_containers_run_as_nobody_in_particular_and_may_write_nothing_of_the_image():
    (workload,) = of_kind("StatefulSet")
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    service = yaml.safe_load(read(DEPLOY / "compose.yaml"))["services"]["service"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert "\nUSER 10001:10001\n" in read(DEPLOY / "Dockerfile")


def test_image_is_made_of_locked_packages_and_of_nothing_that_is_secret():
    text = read(DEPLOY / "Dockerfile")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    asked = {name for line in copied for name in line.split()}
    assert asked == {"requirements/bootstrap.txt", "requirements/serving.txt", "features", "serving", "training"}
    assert text.count("--require-hashes") == 2
    kept = [line[1:].rstrip("/") for line in read(ROOT / ".dockerignore").splitlines() if line.startswith("!")]
    assert set(kept) == asked
    assert "\n*\n" in read(ROOT / ".dockerignore")


@packaging
def test_dockerfile_passes_hadolint():
    lint(BIN / "hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")


@packaging
def test_yaml_passes_yamllint():
    lint(BIN / "yamllint", "--strict", "--config-file", DEPLOY / "yamllint.yaml", DEPLOY)


@packaging
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_fit_the_schemas_of_kubernetes(path):
    lint(BIN / "kubernetes-validate", "--strict", path)


@packaging
def test_compose_file_fits_the_specification():
    """Compose fills in variables first; here `${NAME:-value}` becomes its value, `${NAME:?why}` a word."""
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", read(DEPLOY / "compose.yaml"))
    filled = re.sub(r"\$\{\w+:\?[^}]*\}", "given", filled).replace('"given', '"/given').replace("/given@", "given@")
    compose = compose_spec.PyCompose.from_yaml(filled)
    compose.validate()
    assert set(compose.service_names()) == {"service", "postgres", "page"}


@packaging
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here: the unit is unread")
def test_unit_is_understood_by_systemd_and_well_shut_in(tmp_path):
    unit = tmp_path / "holdfast.service"
    text = read(DEPLOY / "holdfast.service")
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE))
    assert lint("systemd-analyze", "verify", "--man=no", unit).strip() == ""
    exposure = lint("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", unit)
    assert "Overall exposure level" in exposure


@pytest.fixture(scope="session")
def promtool(tmp_path_factory):
    """The machine's, or that of Debian's package, unpacked and not installed."""
    found = shutil.which("promtool")
    if found is not None:
        return found
    folder = tmp_path_factory.mktemp("prometheus")
    run = partial(subprocess.run, cwd=folder, capture_output=True, text=True, check=False)
    if shutil.which("apt-get") is None or run(["apt-get", "download", "prometheus"]).returncode:
        pytest.skip("promtool is neither here nor to be had from Debian's package: the rules are not tried")
    run(["dpkg", "--extract", next(folder.glob("*.deb")), "unpacked"])
    return folder / "unpacked" / "usr" / "bin" / "promtool"


@packaging
def test_alarms_fire_when_they_should_and_only_then(promtool):
    assert f"{len(rules())} rules found" in lint(promtool, "check", "rules", ALERTS)
    lint(promtool, "test", "rules", DEPLOY / "prometheus" / "alerts_test.yaml")


@packaging
def test_dashboard_asks_what_prometheus_understands(promtool, tmp_path):
    asked = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(questions())]
    (tmp_path / "board.yaml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": asked}]}))
    lint(promtool, "check", "rules", tmp_path / "board.yaml")
