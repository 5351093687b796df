"""The notebooks as a reader would run them: in a kernel of this very Python, from their own folder."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NAMES = ("01_data", "02_churn", "03_recommend")
REAL_SOURCE = "../../shared/data/online-retail/online_retail_II_2009_2010.parquet"
ON_REAL_DATA = f'SOURCE = "{REAL_SOURCE}"\nMAPPING = "online_retail_ii"\nSCALE = 0.1\nSEED = 1'
ON_NO_DATA = ON_REAL_DATA.replace("online_retail_II_2009_2010", "no_such_year")
MOST_CELLS = {"01_data": 14, "02_churn": 26, "03_recommend": 14}
SIMULATED = {"SOURCE": None, "MAPPING": "events", "SCALE": 0.1, "SEED": 1}
AS_COMMITTED = {
    "01_data": SIMULATED,
    "02_churn": {"SOURCE": REAL_SOURCE, "MAPPING": "online_retail_ii", "SCALE": 0.1, "SEED": 1},
    "03_recommend": SIMULATED,
}
KERNEL = "holdfast-tests"

realdata = [
    pytest.mark.slow,
    pytest.mark.realdata,
    pytest.mark.skipif(
        not (FOLDER / REAL_SOURCE).is_file(), reason="there is no ../shared/data/online-retail on this machine"
    ),
]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """How to start a kernel of this Python with this checkout; no port, and nothing of the machine's Jupyter."""
    with tempfile.TemporaryDirectory(prefix="nb") as folder:  # short: sockets lie in it
        spec = Path(folder) / "kernels" / KERNEL / "kernel.json"
        spec.parent.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": argv, "display_name": KERNEL, "language": "python"}), encoding="utf-8")
        for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            monkeypatch.setenv(name, folder)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
        monkeypatch.delenv("MPLBACKEND", raising=False)
        yield {"transport": "ipc", "ip": str(Path(folder) / "socket")}


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def parameters(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


class Executed:
    """A notebook that ran to its end: what it printed, and how many pictures it shows."""

    def __init__(self, name: str, kernel: dict[str, str], given: str | None = None) -> None:
        from nbclient import NotebookClient
        from traitlets.config import Config

        notebook = read(name)
        if given is not None:
            parameters(notebook)[0].source = given
        client = NotebookClient(
            notebook,
            timeout=180,
            kernel_name=KERNEL,
            resources={"metadata": {"path": str(FOLDER)}},
            config=Config(KernelManager=kernel),
        )
        client.execute()  # raises what a cell raised
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        self.text = "".join(output.text for output in outputs if output.get("name") == "stdout")
        self.complaints = "".join(output.text for output in outputs if output.get("name") == "stderr")
        self.n_images = sum("image/png" in output.get("data", {}) for output in outputs)

    def numbers(self, pattern: str) -> list[float]:
        """The groups of the one place where the pattern stands in what was printed."""
        found = re.findall(pattern, self.text)
        assert len(found) == 1, f"{pattern!r} stands {len(found)} times in:\n{self.text}"
        groups = found[0] if isinstance(found[0], tuple) else (found[0],)
        return [float(group.replace(",", "")) for group in groups]


def check_data(run: Executed) -> list[float]:
    counts = run.numbers(
        r"([\d,]+) rows read = ([\d,]+) accepted \+ ([\d,]+) duplicates "
        r"\+ ([\d,]+) quarantined \+ ([\d,]+) left out by rules"
    )
    assert counts[0] == sum(counts[1:])
    assert "The totals reconcile: True." in run.text
    again = run.numbers(r"A second import of the same file: ([\d,]+) accepted, ([\d,]+) duplicates")
    assert again == [0, counts[1] + counts[2]]
    assert run.numbers(r"A file with mistakes: (\d) read, (\d) would be accepted") == [4, 1]
    assert run.n_images == 4
    return counts


def check_churn(run: Executed) -> None:
    for baseline in ("recency", "logistic", "bg_nbd"):
        assert re.search(rf"The model (beats|loses to|is not distinguishable from) the {baseline} baseline", run.text)
    assert "The model beats the recency baseline" in run.text
    assert "customers 0 have a probability that rises with the horizon" in run.text
    (probability,) = run.numbers(r"probability (\d\.\d\d\d), score")
    assert 0 < probability <= 1  # one who left long ago may be at .9995, printed 1.000
    assert re.search("[\u4e00-\u9fff]", run.text), "no reason is told in Chinese"
    assert "an association in past data, not the effect of an action" in run.text
    for share in run.numbers(r"of those who came, (\d+)% within p10 to p90"):
        assert 70 <= share <= 90  # 80 is right; of some 500 customers two standard errors are 4
    assert re.search(r"The estimate (held|did not hold): ", run.text)
    held, likeliest = run.numbers(r"hold (\d+)% of what is at stake; the \d+ likeliest to leave hold (\d+)%")
    assert held >= likeliest  # sorted by what is at stake


def check_recommend(run: Executed) -> None:
    ndcg = {name: run.numbers(rf"(?m)^{name}: NDCG@10 (\d\.\d+)")[0] for name in ("ours", "popularity", "als")}
    assert ndcg["ours"] > 1.5 * ndcg["popularity"] > 0
    assert ndcg["ours"] > ndcg["als"]
    (n_new,) = run.numbers(r"a visitor: (\d+) of 10 items are new on the slate \(popularity, then personal\)")
    assert n_new >= 1
    assert run.n_images == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_short_and_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert 8 <= len(notebook.cells) <= MOST_CELLS[name]
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_names_no_place_of_its_authors_machine(name):
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r"""["'`( ]/\w|[A-Za-z]:\\\\|~/|file://""", text)
    assert not re.search(r"/(home|root|Users|tmp|work|mnt|opt|var)/", text)


@pytest.mark.parametrize("name", NAMES)
def test_one_cell_decides_the_data_and_only_the_story_of_churn_is_committed_on_a_real_shop(name):
    (cell,) = parameters(read(name))
    decided: dict[str, object] = {}
    exec(cell.source, decided)
    chosen = {key: decided[key] for key in ("SOURCE", "MAPPING", "SCALE", "SEED")}
    assert chosen == AS_COMMITTED[name]
    others = [other.source for other in read(name).cells if other.cell_type == "code" and other != cell]
    assert not any(re.search(r"(?m)^(SOURCE|MAPPING|SCALE|SEED) *=", source) for source in others)


@pytest.mark.slow
def test_data_of_the_simulated_shop(kernel):
    run = Executed("01_data", kernel)
    n_read, n_accepted, *_ = check_data(run)
    assert n_read == n_accepted > 100_000  # a simulation has no dirt, and a tenth of 1.2 million events
    assert run.complaints == ""


@pytest.mark.slow
def test_churn_where_the_real_shop_is_not_at_hand_is_of_the_simulated_one_and_comes_near_the_oracle(kernel):
    run = Executed("02_churn", kernel, ON_NO_DATA)
    assert "The customers below are made up: there is no no_such_year.parquet here." in run.text
    check_churn(run)
    oracle, ours = run.numbers(r"AUC of the oracle (\d\.\d+), ours (\d\.\d+)\.")
    # some 900 customers: the standard error of the difference is .007 by a bootstrap
    assert oracle - 0.05 < ours < oracle + 0.02
    assert run.n_images == 11
    assert run.complaints == ""


@pytest.mark.slow
def test_recommendations_of_the_simulated_shop(kernel):
    run = Executed("03_recommend", kernel)
    check_recommend(run)
    assert run.complaints == ""


@pytest.mark.parametrize("_", [pytest.param("online-retail", marks=realdata)])
def test_data_of_a_real_shop_by_changing_one_cell(kernel, _):
    run = Executed("01_data", kernel, ON_REAL_DATA)
    n_read, _accepted, n_duplicates, _quarantined, n_dropped = check_data(run)
    assert n_read == 502_938  # lines of the source, by its own description
    assert min(n_duplicates, n_dropped) > 1_000
    assert run.complaints == ""


@pytest.mark.parametrize("_", [pytest.param("online-retail", marks=realdata)])
def test_churn_of_a_real_shop_as_committed(kernel, _):
    run = Executed("02_churn", kernel)
    assert "made up" not in run.text
    check_churn(run)
    assert "A real shop does not tell its truth" in run.text
    assert run.n_images == 10
    assert run.complaints == ""


@pytest.mark.parametrize("_", [pytest.param("online-retail", marks=realdata)])
def test_recommendations_of_a_real_shop_by_changing_one_cell(kernel, _):
    run = Executed("03_recommend", kernel, ON_REAL_DATA)
    check_recommend(run)
    assert run.complaints == ""
