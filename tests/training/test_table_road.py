"""The road of a labelled table: from the command line to the HTTP answer."""

import asyncio
import csv
import itertools
import json
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from features.errors import ConfigurationError, DataError, NotEnoughDataError
from features.workspace import Workspace
from serving.app import create_app
from serving.metrics import Metrics
from serving.releases import load_named, release_folder
from serving.runtime import Runtime
from serving.settings import ServiceSettings
from tests.labelled_tables import HEADER, customers, write_table
from training.cli.context import CliContext
from training.cli.models import NOT_PROMOTED, register
from training.registry import Registry
from training.tracking import open_tracking

QUICK = """
[churn]
min_rows = 50
min_each_outcome = 10
full_model_each_outcome = 50
bootstrap_replicates = 30
folds = 3
"""
TRAIN = ("train", "churn", "--label", "Churn", "--id", "customerID", "--table")
Talk = Callable[[httpx.AsyncClient], Any]


def run(workspace: Workspace, *words: str) -> dict[str, Any]:
    app = typer.Typer()
    register(app)
    done = CliRunner().invoke(app, list(words), obj=CliContext(workspace, None, json=True))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, NOT_PROMOTED), done.output
    return dict(json.loads(done.stdout))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def served(workspace: Workspace, release: str, talk: Talk) -> Any:
    """Hold a conversation with the application on this release."""
    settings = ServiceSettings(workspace.root, release=release, rollout_poll_ms=20, lock_timeout_ms=500)
    names = (f"{number:032x}" for number in itertools.count())
    metrics = Metrics()

    def opened(given: ServiceSettings) -> Runtime:
        return Runtime.open(
            given,
            resolve=partial(release_folder, releases=workspace.releases),
            clock=lambda: time.time_ns() // 1_000,
            new_id=lambda: next(names),
            metrics=metrics,
        )

    app = create_app(lambda: settings, opened, metrics, new_id=lambda: next(names))

    async def whole() -> Any:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                for _ in range(500):
                    if (await client.get("/readyz")).status_code == 200:
                        break
                    await asyncio.sleep(0.02)
                return await talk(client)

    return asyncio.run(whole())


def answers(workspace: Workspace, release: str, *calls: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.request(method, path, **arguments) for method, path, arguments in calls]

    return list(served(workspace, release, talk))


@pytest.fixture(scope="module")
def business(tmp_path_factory: pytest.TempPathFactory, laid_mlflow_database: Path) -> tuple[Workspace, dict[str, Any]]:
    """A workspace with a released model of a table of 1,200 customers, and what training told."""
    root = tmp_path_factory.mktemp("business")
    workspace = Workspace(root / "shop")
    workspace.mlflow_database.parent.mkdir(parents=True)
    shutil.copyfile(laid_mlflow_database, workspace.mlflow_database)
    (workspace.root / "holdfast.toml").write_text(QUICK)
    told = run(workspace, *TRAIN, str(write_table(root / "customers.csv", customers(1_200))))
    run(workspace, "promote", "churn", "--force", "--why", "the first one")
    return workspace, told | run(workspace, "release")


@pytest.mark.slow
def test_promotion_says_of_a_baseline_what_the_report_says(business: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, told = business
    registry = Registry(open_tracking(workspace))
    first = registry.promotions("holdfast-churn")[0]
    for name, row in told["baselines"].items():
        reason = next(reason for reason in first.reasons if f"the baseline {name}" in reason)
        by_chance = row["auc_difference_ci_low"] <= 0 <= row["auc_difference_ci_high"]
        assert ("cannot be told from chance" in reason) == by_chance
        alike = f"The model is not distinguishable from the {name} baseline"
        assert any(sentence.startswith(alike) for sentence in told["sentences"]) == by_chance
        assert first.figures[f"baseline.{name}.auc_difference_ci_low"] == pytest.approx(row["auc_difference_ci_low"])


@pytest.fixture
def shop(workspace: Workspace) -> Workspace:
    """An empty workspace with the same settings."""
    (workspace.root / "holdfast.toml").write_text(QUICK)
    return workspace


@pytest.mark.slow
def test_training_shows_how_each_column_was_understood(business: tuple[Workspace, dict[str, Any]]) -> None:
    columns = {one["name"]: one for one in business[1]["columns"]}
    kinds = {name: one["kind"] for name, one in columns.items()}
    assert kinds == {
        "Contract": "category",
        "tenure": "number",
        "MonthlyCharges": "number",
        "Partner": "flag",
        "comment": "left out",
    }
    assert columns["Contract"]["holds"] == "one of 2: Month-to-month, Two year"
    assert columns["tenure"]["missing_share"] == pytest.approx(24 / 1_200)  # every fiftieth
    assert "empty" in columns["comment"]["holds"]
    assert {"logistic", "lightgbm_defaults"} == set(business[1]["baselines"])


@pytest.mark.slow
def test_release_of_a_table_says_so_and_has_no_recommender(business: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, told = business
    release = load_named(told["name"], workspace)
    assert release.recommender is None
    assert release.manifest["recommender"] is None
    assert release.table is not None
    assert release.table.names == release.churn.feature_names == ("Contract", "tenure", "MonthlyCharges", "Partner")
    assert release.table.fingerprint() == release.fingerprint
    assert set(release.manifest["provenance"]) == {"churn"}


@pytest.mark.slow
def test_one_customer_is_answered_from_the_stored_table(business: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, told = business
    path = "/v1/customers/A-0050/churn"
    english, chinese, unknown = answers(
        workspace,
        told["name"],
        ("GET", path, {"params": {"include": "reasons,forecast,trend,segment,actions,what_if"}}),
        ("GET", path, {"headers": {"Accept-Language": "zh"}}),
        ("GET", "/v1/customers/nobody/churn", {}),
    )
    assert english.status_code == 200, english.text
    body = english.json()
    assert 0 < body["churn_probability"] < 1
    assert body["horizon_days"] == 30
    assert body["band"] in {"low", "medium", "high"}
    assert body["features_as_of"] < body["as_of"]
    quality = {
        "missing_share": 0.25,
        "gate": "passed",
        "unseen_features": [],
        "degraded": False,
        "degraded_reason": None,
    }
    assert body["data_quality"] == quality  # tenure of 4
    assert body["segment"] is None
    assert body["predicted_value"]["days_90"]["p50"] is None
    contract = next(one for one in body["reasons"] if one["code"] == "Contract")
    assert contract["value"] in {"Month-to-month", "Two year"}
    assert contract["value"] in contract["text"]
    assert chinese.headers["content-language"] == "zh"
    told_in_both = {one["code"] for one in chinese.json()["reasons"]} & {one["code"] for one in body["reasons"]}
    assert "Contract" in told_in_both
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_customer")


@pytest.mark.slow
def test_batch_gives_what_one_call_gives_and_a_problem_for_the_unknown(
    business: tuple[Workspace, dict[str, Any]],
) -> None:
    ids = ["A-0001", "nobody", "A-0002"]
    batch, one = answers(
        business[0],
        business[1]["name"],
        ("POST", "/v1/churn/score:batch", {"json": {"customer_ids": ids}}),
        ("GET", "/v1/customers/A-0002/churn", {}),
    )
    assert (batch.json()["scored"], batch.json()["failed"]) == (2, 1)
    assert batch.json()["results"][2]["churn"]["churn_probability"] == one.json()["churn_probability"]


@pytest.mark.slow
@pytest.mark.parametrize("query", [{"freshness": "fresh"}, {"as_of": "2024-01-01T00:00:00Z"}])
def test_another_moment_than_the_tables_is_refused_with_the_reason(
    business: tuple[Workspace, dict[str, Any]], query: dict[str, str]
) -> None:
    (refused,) = answers(business[0], business[1]["name"], ("GET", "/v1/customers/A-0001/churn", {"params": query}))
    assert (refused.status_code, refused.json()["code"]) == (422, "not_supported")
    assert "stored table" in refused.json()["detail"]


@pytest.mark.slow
def test_table_recommends_nothing_and_says_so(business: tuple[Workspace, dict[str, Any]]) -> None:
    found = answers(
        business[0],
        business[1]["name"],
        ("POST", "/v1/recommendations", {"json": {"customer_id": "A-0001"}}),
        ("GET", "/v1/items/tea/similar", {}),
        ("GET", "/v1/releases", {}),
    )
    assert [(one.status_code, one.json().get("code")) for one in found[:2]] == [(404, "no_recommender")] * 2
    assert found[2].json()["releases"][0]["items"] == 0


@pytest.mark.slow
def test_event_is_accepted_and_changes_nothing_in_the_score(business: tuple[Workspace, dict[str, Any]]) -> None:
    event = {
        "event_id": "e-1",
        "customer_id": "A-0003",
        "kind": "view",
        "occurred_at": "2024-01-01T00:00:00Z",
        "item_id": "tea",
    }
    before, accepted, after = answers(
        business[0],
        business[1]["name"],
        ("GET", "/v1/customers/A-0003/churn", {}),
        ("POST", "/v1/events", {"json": {"events": [event]}}),
        ("GET", "/v1/customers/A-0003/churn", {}),
    )
    assert accepted.status_code in (200, 202), accepted.text
    assert before.json()["churn_probability"] == after.json()["churn_probability"]


@pytest.mark.slow
def test_stored_table_is_scored_and_the_work_list_answers_from_the_book(
    business: tuple[Workspace, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, told = business
    scored = run(workspace, "score", str(tmp_path / "scores.csv"))
    rows = rows_of(tmp_path / "scores.csv")
    assert scored["n_scored"] == len(rows) == 1_200
    stayed = sum(row[-1] == "No" for row in customers(1_200))
    assert scored["n_eligible"] == stayed  # who has left already is asked about no more
    listed, one = answers(
        workspace,
        told["name"],
        ("GET", "/v1/customers", {"params": {"limit": 1}}),
        ("GET", f"/v1/customers/{rows[0]['customer_id']}/churn", {}),
    )
    assert listed.status_code == 200, listed.text
    riskiest = max(float(row["churn_probability"]) for row in rows if row["eligible"] == "true")
    assert [row["churn_probability"] for row in listed.json()["customers"]] == [pytest.approx(riskiest)]
    assert one.json()["churn_probability"] == pytest.approx(float(rows[0]["churn_probability"]))


@pytest.mark.slow
def test_new_table_is_scored_alone_and_an_unseen_category_is_said(
    business: tuple[Workspace, dict[str, Any]], tmp_path: Path
) -> None:
    rows = [["N-1", "Month-to-month", "1", "99", "No", ""], ["N-2", "Weekly", "60", "30", "Yes", ""]]
    # one of two would be most of a column, which is another kind; of four it is a customer's own
    more = [["N-3", "Two year", "60", "30", "Yes", ""], ["N-4", "Two year", "50", "30", "Yes", ""]]
    new = write_table(tmp_path / "new.csv", [*rows, *more], HEADER[:-1])
    scored = run(business[0], "score", "--table", str(new), str(tmp_path / "new-scores.csv"))
    assert scored["notes"] == ["1 customers hold a value in Contract that training had not seen; it counts as missing"]
    found = {row["customer_id"]: row for row in rows_of(tmp_path / "new-scores.csv")}
    assert set(found) == {"N-1", "N-2", "N-3", "N-4"}
    assert float(found["N-1"]["churn_probability"]) > float(found["N-3"]["churn_probability"])
    assert scored["book"] is None
    (unknown,) = answers(business[0], business[1]["name"], ("GET", "/v1/customers/N-1/churn", {}))
    assert unknown.status_code == 404  # scored for the file alone


@pytest.mark.slow
def test_scoring_a_new_table_never_changes_what_the_service_answers_from(
    business: tuple[Workspace, dict[str, Any]], tmp_path: Path
) -> None:
    workspace = business[0]
    new = write_table(tmp_path / "new.csv", customers(1_000, seed=2))
    before = stored_files(workspace)
    with pytest.raises(ConfigurationError, match=r"store it first \(holdfast features build --table FILE\)"):
        run(workspace, "score", "--table", str(new), "--book", str(tmp_path / "o.csv"))
    run(workspace, "score", "--table", str(new), str(tmp_path / "o.csv"))
    assert stored_files(workspace) == before


def stored_files(workspace: Workspace) -> dict[Path, bytes]:
    """Everything from which the service answers."""
    found = (*workspace.snapshots.rglob("*"), *workspace.scores.rglob("*"), *workspace.identities.rglob("*"))
    return {path: path.read_bytes() for path in found if path.is_file()}


@pytest.fixture
def copied(business: tuple[Workspace, dict[str, Any]], tmp_path: Path) -> Workspace:
    """A copy to change: the other tests answer from the stored table."""
    workspace = Workspace(tmp_path / "shop")
    shutil.copytree(business[0].root, workspace.root)
    return workspace


@pytest.mark.slow
def test_newer_table_takes_the_place_of_the_stored_one_and_an_older_one_does_not(
    business: tuple[Workspace, dict[str, Any]], copied: Workspace, tmp_path: Path
) -> None:
    rows = [["N-1", "Month-to-month", "1", "99", "No", ""], ["N-2", "Weekly", "60", "30", "Yes", ""]]
    more = [["N-3", "Two year", "60", "30", "Yes", ""], ["N-4", "Two year", "50", "30", "Yes", ""]]
    new = str(write_table(tmp_path / "new.csv", [*rows, *more], HEADER[:-1]))
    built = run(copied, "features", "build", "--table", new)
    assert (built["n_customers"], built["n_features"]) == (4, 4)
    assert built["notes"] == ["1 customers hold a value in Contract that training had not seen; it counts as missing"]
    scored = run(copied, "score", str(tmp_path / "scores.csv"))
    assert (scored["n_scored"], scored["as_of"]) == (4, built["as_of"])
    name = business[1]["name"]
    paths = ("/v1/customers/N-2/churn", "/v1/customers/A-0001/churn")
    known, former = answers(copied, name, *(("GET", path, {}) for path in paths))
    assert (known.status_code, known.json()["features_as_of"]) == (200, built["as_of"])
    assert former.status_code == 404
    with pytest.raises(ConfigurationError, match="the service answers from the latest"):
        run(copied, "features", "build", "--table", new, "--as-of", "2024-01-01T00:00:00Z")


@pytest.mark.slow
def test_table_of_the_instant_of_the_labelled_one_is_refused_and_the_labels_stay(
    business: tuple[Workspace, dict[str, Any]], tmp_path: Path
) -> None:
    workspace, before = business[0], stored_files(business[0])
    (stored,) = workspace.snapshots.glob("table-*.parquet")
    learnt_at = pq.read_schema(stored).metadata[b"as_of"].decode()
    new = str(write_table(tmp_path / "new.csv", [row[:-1] for row in customers(20)], HEADER[:-1]))
    with pytest.raises(ConfigurationError, match=f"learnt from is stored as of {learnt_at} too, with the labels"):
        run(workspace, "features", "build", "--table", new, "--as-of", learnt_at)
    assert stored_files(workspace) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compare", "1", "{release}"), r"holdfast-churn 1 \(champion\) reads a labelled table.* needs an event log"),
        (("compare", "{release}", "1"), r"r-[0-9a-f]+ reads a labelled table.* holdfast compare churn A B tells"),
        (("monitor",), r"monitoring needs an event log.* train on a newer table with labels, then holdfast compare"),
        (("monitor", "{release}"), r"monitoring needs an event log"),
    ],
)
def test_what_needs_an_event_log_says_so_and_what_works_for_a_table(
    business: tuple[Workspace, dict[str, Any]], words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        run(business[0], *(word.format(release=business[1]["name"]) for word in words))


@pytest.mark.slow
def test_warnings_of_a_table_compare_books_of_a_week_apart_and_need_both(copied: Workspace, tmp_path: Path) -> None:
    shutil.rmtree(copied.scores, ignore_errors=True)
    for stored in copied.snapshots.iterdir():
        stored.unlink()
    rows, says = customers(60), r"needs an event log.* holdfast features build --table FILE && holdfast score"
    for day, contract in (("2026-01-01", "Two year"), ("2026-01-08", "Month-to-month")):
        moved = [[row[0], contract if place < 9 else row[1], *row[2:]] for place, row in enumerate(rows)]
        new = write_table(tmp_path / "table.csv", moved, HEADER[:-1])
        run(copied, "features", "build", "--table", str(new), "--as-of", f"{day}T00:00:00Z")
        run(copied, "score", str(tmp_path / "scores.csv"))
        if contract == "Two year":
            with pytest.raises(ConfigurationError, match=says):
                run(copied, "warnings")
    told = run(copied, "warnings")
    assert (told["basis"], told["since"]) == ("book", "2026-01-01T00:00:00Z")
    assert told["given"]["n_warned"] == 9


@pytest.mark.slow
def test_column_of_another_kind_at_scoring_is_refused_by_name(
    business: tuple[Workspace, dict[str, Any]], tmp_path: Path
) -> None:
    rows = [[one[0], one[1], "long", *one[3:]] for one in customers(20)]
    with pytest.raises(DataError, match="column tenure was a number in training"):
        run(business[0], "score", "--table", str(write_table(tmp_path / "new.csv", rows)), str(tmp_path / "o.csv"))


@pytest.mark.slow
def test_same_table_again_is_compared_on_customers_whom_neither_has_seen(
    business: tuple[Workspace, dict[str, Any]], tmp_path: Path
) -> None:
    workspace = business[0]
    run(workspace, *TRAIN, str(write_table(tmp_path / "customers.csv", customers(1_200))))
    compared = run(workspace, "compare", "churn", "2", "champion")
    assert compared["difference"] == [0.0, 0.0]


def test_label_that_is_not_there_names_those_that_look_like_it(shop: Workspace, tmp_path: Path) -> None:
    path = write_table(tmp_path / "customers.csv", customers(60))
    with pytest.raises(ConfigurationError, match="no label column churned; these look like it: Churn"):
        run(shop, "train", "churn", "--table", str(path), "--label", "churned", "--id", "customerID")


def test_too_few_customers_are_refused_with_numbers_and_nothing_is_registered(shop: Workspace, tmp_path: Path) -> None:
    path = write_table(tmp_path / "customers.csv", customers(60))
    with pytest.raises(NotEnoughDataError, match=r"rows.*at least 50 rows"):
        run(shop, *TRAIN, str(path))
    assert not shop.snapshots.exists()


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (HEADER, [[*row[:-1], "No"] for row in customers(60)], "one outcome only: 0 rows churned and 60 stayed"),
        (HEADER, [["A-1", *row[1:]] for row in customers(60)], "1 customer ids of customers.csv stand in 60 rows"),
        (HEADER, [["", *row[1:]] for row in customers(60)], "no row of customers.csv has a value in the id column"),
        (HEADER, [], "0 rows of customers"),
        (
            ("customerID", "eligible", "Churn"),
            [[row[0], str(place % 9), row[-1]] for place, row in enumerate(customers(60))],
            "column eligible has a name that the stored table keeps",
        ),
        (
            ("customerID", "comment", "Churn"),
            [[row[0], "", row[-1]] for row in customers(60)],
            "comment: empty: no row has a value",
        ),
    ],
)
def test_table_that_cannot_be_learnt_from_is_refused_with_the_reason(
    shop: Workspace, tmp_path: Path, header: tuple[str, ...], rows: list[list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run(shop, *TRAIN, str(write_table(tmp_path / "customers.csv", rows, header)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--label", "Churn"), "--label speaks of a table; name the file with --table"),
        (("--table", "customers.csv", "--id", "id"), "a table needs --label"),
        (("--table", "c.csv", "--id", "id", "--label", "l", "--backtest"), "--backtest is for an event log"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(shop: Workspace, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(shop, "train", "churn", *words)
