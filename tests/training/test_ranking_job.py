"""A release's ranking judged from what an exploring shop showed, as the command does."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from features.customer_view import CustomerView
from features.errors import ConfigurationError, FilterError, NotEnoughDataError
from features.event_log import EventLog
from features.instants import DAY_US, MINUTE_US, format_instant
from serving.decisions import Decision, DecisionLog
from serving.kept_requests import kept_request
from serving.objective import Objective, ObjectiveWeights
from serving.recipe import Asking, Recipe
from serving.recommender import Recommender
from serving.slate_rules import Boost, Pin, SlateRules
from serving.store import Store
from serving.storefront import SlateRequest, Storefront
from tests.event_tables import event, event_table
from tests.tiny_shop import ITEMS, NOW_US, TinyShop, recommender, tiny_shop
from training.cli import ranking_commands
from training.cli.context import CliContext
from training.log_data import read_log
from training.logged_recommendations import LoggedRecommendationSettings, join_outcomes, read_slates
from training.ranking_job import rankings_of

N = 1_000
GOOD, OTHERS = 0.6, 0.2
PLAIN = Recipe("plain")


def lay(shop: TinyShop, rng: np.random.Generator) -> None:
    """The first place is certain and holds eggs; the second was drawn evenly of the rest.

    Who is shown what the release would rank best of the rest responds three times as often.
    """
    view, front, best = read_log(shop.workspace).view, Storefront(recommender(), recommender().catalogue), {}
    for key in view.customer_keys.tolist():
        slate = front.slate(view.select([view.rows_of([key])[0]]), NOW_US, SlateRequest(5), PLAIN)
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
                "plain",
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
    made.release("new", recipes={"plain": PLAIN})
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
    assert "0 explored at no placement of the release" in told


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


def test_a_release_without_the_placement_is_not_judged_by_what_was_shown_there(shop: TinyShop) -> None:
    shop.release("elsewhere", recipes={"letter": Recipe("letter")})
    with pytest.raises(NotEnoughDataError, match=f"a placement of the release, {N:,} elsewhere"):
        said(shop, "elsewhere")


HISTORY = [
    event("k:1", "purchase", NOW_US - 60 * DAY_US, item_id="eggs", order_id="o1"),
    event("k:1", "purchase", NOW_US - 30 * DAY_US, item_id="eggs", order_id="o2"),
    event("k:1", "view", NOW_US - MINUTE_US, item_id="apple"),
]
LATER = event("k:1", "purchase", NOW_US + MINUTE_US, item_id="cheese", order_id="o3")
RECIPES = {
    "plain": PLAIN,
    "fruit": Recipe("fruit", rules=SlateRules(where="item_id in ('apple', 'dates')")),
    "pinned": Recipe("pinned", rules=SlateRules(pinned=(Pin("dates", 1),))),
    "popular": Recipe("popular", sources={"als": Asking(0.0), "buy_again": Asking(0.0)}),
    "novel": Recipe("novel", objective=Objective(leaving=ObjectiveWeights(discovery=1.0))),
}
"""Of these, the items are named by their popularity: apple, bread, cheese, dates, eggs."""


class Judged:
    """One decision in a log, asked of a recommender again."""

    def __init__(self, folder: Path, of: Recommender | None = None) -> None:
        self.folder = folder
        self.front = Storefront(of or recommender(), (of or recommender()).catalogue)

    def ranked(self, placement: str, kept: str | None = None, risk: float | None = None) -> list[str]:
        store = Store.open(self.folder / f"{len(list(self.folder.iterdir()))}.db")
        log = DecisionLog(store, capacity=1, count=lambda _outcome, _n: None)
        told = {"placement": placement, "request": kept, "propensities": (0.5,)}
        log.record(
            Decision("r-1", "recommendation", "k:1", NOW_US, "old", "none", "champion", risk, ("bread",), **told)  # type: ignore[arg-type]
        )
        log.close()
        shown = event("k:1", "impression", NOW_US + MINUTE_US, item_id="bread", recommendation_id="r-1")
        slates = read_slates(store, NOW_US + 1)
        logged = join_outcomes(slates, event_table(shown), NOW_US + 9 * DAY_US, LoggedRecommendationSettings())
        return rankings_of(self.front, RECIPES, CustomerView.from_events(event_table(*HISTORY, LATER)), logged)["r-1"]

    def shown(self, placement: str, wanted: SlateRequest, risk: float | None = None) -> list[str]:
        history = CustomerView.from_events(event_table(*HISTORY))
        slate = self.front.slate(history, NOW_US, wanted, RECIPES[placement], risk)
        return [item.item_id for item in slate.items]


def test_a_decision_is_asked_again_by_the_recipe_of_its_placement(tmp_path: Path) -> None:
    judged = Judged(tmp_path)
    assert judged.ranked("plain") == judged.shown("plain", SlateRequest())
    assert set(judged.ranked("fruit")) == {"apple", "dates"}
    assert judged.ranked("popular") == list(ITEMS)
    assert set(judged.ranked("pinned")) == set(ITEMS) - {"dates"}  # what is pinned is never drawn


def test_a_decision_is_asked_again_for_what_the_call_wanted(tmp_path: Path) -> None:
    judged = Judged(tmp_path)

    def again(wanted: SlateRequest, **exclude: object) -> list[str]:
        return judged.ranked("plain", kept_request(wanted, exclude))

    assert again(SlateRequest(1, where="item_id != 'eggs'")) == judged.shown(
        "plain", SlateRequest(where="item_id != 'eggs'")
    )
    assert again(SlateRequest(seed_items=("apple",)))[0] == "bread"  # they lie together
    assert "eggs" not in again(SlateRequest(), owned=True)
    assert set(again(SlateRequest(earlier=("apple", "eggs")))) == {"bread", "cheese", "dates"}
    assert again(SlateRequest(boosts=(Boost("item_id = 'dates'", 10.0),)))[0] == "dates"
    with pytest.raises(FilterError):
        again(SlateRequest(where="colour = 'red'"))


def test_a_decision_is_asked_again_with_the_risk_that_was_known(tmp_path: Path) -> None:
    judged = Judged(tmp_path)
    staying, leaving = (judged.ranked("novel", risk=risk) for risk in (None, 1.0))
    assert staying == judged.shown("novel", SlateRequest())
    assert leaving == judged.shown("novel", SlateRequest(), 1.0)
    assert staying.index("apple") < staying.index("dates")  # they looked at the apple, and never met dates
    assert leaving.index("apple") > leaving.index("dates")


def test_a_decision_is_asked_again_by_the_weights_of_the_session(tmp_path: Path) -> None:
    plain = recommender()
    here = replace(plain, settings=replace(plain.settings, session={"popularity": 1.0}))
    assert Judged(tmp_path, here).ranked("plain") == list(ITEMS)  # they looked at the apple a minute before
    assert Judged(tmp_path, plain).ranked("plain") != list(ITEMS)
