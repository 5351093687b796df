"""A release's ranking judged from what an exploring shop showed, as the command does."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from features.errors import ConfigurationError, NotEnoughDataError
from features.event_log import EventLog
from features.instants import DAY_US, format_instant
from serving.decisions import Decision, DecisionLog
from serving.store import Store
from tests.event_tables import event, event_table
from tests.tiny_shop import ITEMS, NOW_US, TinyShop, recommender, tiny_shop
from training.cli import ranking_commands
from training.cli.context import CliContext
from training.log_data import read_log

N = 1_000
GOOD, OTHERS = 0.6, 0.2


def lay(shop: TinyShop, rng: np.random.Generator) -> None:
    """The first place is certain and holds eggs; the second was drawn evenly of the rest.

    Who is shown what the release would rank best of the rest responds three times as often.
    """
    view, ranked, best = read_log(shop.workspace).view, recommender(), {}
    for key in view.customer_keys.tolist():
        slate = ranked.slate(view.select([view.rows_of([key])[0]]), NOW_US, 5)
        best[key] = next(one.item_id for one in slate.items if one.item_id != "eggs")
    store = Store.open(shop.workspace.store)
    log = DecisionLog(store, capacity=N, count=lambda _outcome, _n: None)
    rows = []
    for number in range(N):
        key = shop.pseudonyms.of(f"c{number % 40}")
        as_of_us = NOW_US + number
        drawn = ITEMS[int(rng.integers(0, 4))]
        shown, chances = ("eggs", drawn), (1.0, 0.25)
        log.record(
            Decision(
                f"r-{number}",
                "recommendation",
                key,
                as_of_us,
                "old",
                "none",
                "champion",
                None,
                shown,
                None,
                None,
                chances,
            )
        )
        named = {"recommendation_id": f"r-{number}"}
        rows += [
            event(key, "impression", NOW_US + DAY_US // 4, item_id=item, **named, event_id=f"i{number}{item}")
            for item in shown
        ]
        if rng.random() < (GOOD if drawn == best[key] else OTHERS):
            rows.append(event(key, "cart", NOW_US + DAY_US // 2, item_id=drawn, **named, event_id=f"c{number}"))
    log.close()
    store.close()
    rows.append(event(key, "login", NOW_US + 5 * DAY_US, event_id="last"))
    EventLog.open(shop.workspace.event_log).append(event_table(*rows))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    made = tiny_shop(tmp_path_factory.mktemp("shop"))
    made.release("new")
    lay(made, np.random.default_rng(0))
    return made


def said(shop: TinyShop, *words: str, as_json: bool = False) -> str:
    app = typer.Typer()
    ranking_commands.register(app)
    result = CliRunner().invoke(app, list(words), obj=CliContext(shop.workspace, None, as_json))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_ranking_that_was_never_shown_is_valued_by_what_exploring_showed(shop: TinyShop) -> None:
    done = json.loads(said(shop, "new", "--kinds", "cart", as_json=True))
    report = done["report"]
    assert (done["release"], report["n_rounds"], report["supported"]) == ("new", N, True)
    assert done["since"] == format_instant(NOW_US)
    dr = next(one for one in report["estimates"] if one["estimator"] == "dr")
    assert dr["ci_low"] <= GOOD <= dr["ci_high"]
    assert report["logged"]["value"] == pytest.approx(0.25 * GOOD + 0.75 * OTHERS, abs=0.05)
    assert dr["ci_low"] > report["logged"]["ci_high"]


def test_people_are_told_every_estimate_and_that_nothing_is_supported_where_nobody_responds(shop: TinyShop) -> None:
    told = said(shop, "--kinds", "purchase", "--since", format_instant(NOW_US + N - 60))
    assert "on 60 explored places" in told
    assert all(name in told for name in ("logged", "snips", "switch_dr"))
    assert "the log has hardly seen what this policy would show" in told
    assert "0 of its rounds with a reward, need 10" in told


def test_a_release_is_not_judged_by_what_it_may_have_learnt_from(shop: TinyShop) -> None:
    with pytest.raises(ConfigurationError, match="may have learnt from what is to judge it"):
        said(shop, "new", "--since", format_instant(NOW_US - 1))
    with pytest.raises(NotEnoughDataError, match=f"0 of {N:,} explored places were decided since"):
        said(shop, "new", "--since", format_instant(NOW_US + 4 * DAY_US))


def test_without_exploring_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    bare = tiny_shop(tmp_path)
    bare.release("new")
    with pytest.raises(NotEnoughDataError, match="let some slots explore"):
        said(bare, "new")
