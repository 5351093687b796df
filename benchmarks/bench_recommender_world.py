"""Recommendations on the simulated shop, against what only the simulation knows.

Three questions, each with limits of its own:
taste: how near the slates come to a ranking by true taste, NDCG@10 of the orders of the 30 days after the cut-off.
churn: whether an objective that moves with the churn probability raises the true probability of returning of those at
high risk, by the law of `training.simulated_shop.responses`, and costs the others nothing.
now: whether the list after an accepted view is another one, and finds the next item better than that of training time.
Everything is fitted and weighed before the cut-off; what is judged is read once.
Run: python -m benchmarks.bench_recommender_world [--scale 1.0] [--seed 11] [--only taste]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.bench_known_answers import Shop
from benchmarks.report import limit_words, peak_rss_gib, print_and_keep, require_kept
from features.churn_features import CHURN_FEATURES
from features.instants import DAY_US
from serving.churn_aware import aimed
from serving.objective import Objective, price_ranks
from serving.recipe import load_recipe
from serving.recommender import Recommender
from serving.sources.histories import Histories
from serving.sources.source import Excluded
from training.churn_evaluation import label_test, train_churn
from training.next_item import Moments
from training.recommender import RecommenderFitSettings, fit_recommender
from training.recommender_metrics import Relevant, bootstrap_means, hits, ndcg
from training.settings import Settings
from training.simulate import true_affinity
from training.simulated_shop.responses import SlateResponses, oracle_responses, true_pull

DAYS, HORIZON_DAYS, K = 30, 90, 10
MOST, MOMENTS = 5_000, 3_000
OF_TRUE_TASTE, CHANGED, GAIN = 0.85, 0.90, 0.30
AT_ONCE = 256
REPLICATES = 1_000
Row = dict[str, Any]
Limits = dict[str, bool]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A recommender of what was known at an instant, and how its customers and items stand in the truth.

    items: int64 (n_items,), item row of each place. people: customer row of each row of the log.
    """

    shop: Shop
    recommender: Recommender
    as_of_us: int
    items: np.ndarray
    people: np.ndarray

    @classmethod
    def at(cls, shop: Shop, as_of_us: int, settings: RecommenderFitSettings) -> Fitted:
        """Fitted on the shop's log before an instant."""
        started = time.perf_counter()
        recommender = fit_recommender(shop.log, as_of_us, settings, items=shop.simulated.items)
        truth = shop.simulated.truth
        item_row = {name: row for row, name in enumerate(truth.item_ids)}
        row_of = {shop.pseudonyms.of(name): row for row, name in enumerate(truth.customer_ids)}
        print(f"fitted in {time.perf_counter() - started:.0f} s: {_named(recommender.settings.blend)}")
        return cls(
            shop,
            recommender,
            as_of_us,
            np.array([item_row[one] for one in recommender.item_ids]),
            np.array([row_of[str(key)] for key in shop.log.customer_keys]),
        )

    def lists(
        self,
        histories: Histories,
        *,
        weights: Mapping[str, float] | None = None,
        excluded: Excluded | None = None,
        aims: np.ndarray | None = None,
        eligible: np.ndarray | None = None,
    ) -> np.ndarray:
        """int64 (n, K): the first places of each customer, by an objective's weights (n, 3) where they are given."""
        found = []
        open_ = np.ones(len(self.items), np.bool_) if eligible is None else eligible
        for start in range(0, histories.n_customers, AT_ONCE):
            stop = min(start + AT_ONCE, histories.n_customers)
            part = histories.part(start, stop)
            own = None if excluded is None else excluded.part(start, stop)
            k = K if aims is None else None
            session = weights is not None and weights == self.recommender.settings.session
            ranked = self.recommender.ranked(part, open_, k, weights=weights, excluded=own, session=session)[0]
            if aims is not None:
                ranked = aimed(self.recommender, part, ranked, aims[start:stop])
            first = ranked.places[:, :K]
            found.append(np.pad(first, ((0, 0), (0, K - first.shape[1])), constant_values=-1))
        return np.concatenate(found)


def best_of(scores: np.ndarray, open_: np.ndarray | None = None) -> np.ndarray:
    """int64 (n, K): the places of the highest scores (n, n_items)."""
    allowed = scores if open_ is None else np.where(open_, scores, -np.inf)
    return np.argsort(-allowed, axis=1, kind="stable")[:, :K]


def print_taste(fitted: Fitted, size: str) -> Limits:
    """NDCG@10 of ours, of popularity and of rankings by the truth; new items apart, without those owned."""
    log, recommender, as_of_us = fitted.shop.log, fitted.recommender, fitted.as_of_us
    truth = fitted.shop.simulated.truth
    relevant = Relevant.read(log, as_of_us, as_of_us + DAYS * DAY_US, recommender.index)
    everybody = recommender.histories(log, as_of_us)
    rows = np.flatnonzero((relevant.counts > 0) & ~everybody.cold)
    rows = np.sort(np.random.default_rng(0).choice(rows, min(MOST, len(rows)), replace=False))
    histories, wanted, people = everybody.select(rows), relevant.select(rows), fitted.people[rows]
    owned = np.zeros((len(rows), len(fitted.items)), np.bool_)
    owned[histories.bought.customers, histories.bought.items] = True
    new = wanted.only(~owned[wanted.customers, wanted.items])
    bought = Excluded(histories.bought_offsets, histories.bought.items)
    taste = true_affinity(truth, people, fitted.items)
    needed = true_pull(truth, people, as_of_us)[:, fitted.items]
    slates = {
        "ours": (fitted.lists(histories), fitted.lists(histories, excluded=bought)),
        "popularity": tuple(
            fitted.lists(histories, weights={"popularity": 1.0}, excluded=one) for one in (None, bought)
        ),
        "true taste": (best_of(taste), best_of(taste, ~owned)),
        "true taste and need": (best_of(needed), best_of(needed, ~owned)),
    }
    quality = {
        name: [float(np.nanmean(ndcg(hits(s, r), r.counts))) for s, r in zip(pair, (wanted, new), strict=True)]
        for name, pair in slates.items()
    }
    shares = [quality["ours"][i] / quality["true taste"][i] for i in (0, 1)]
    limits = {
        f"NDCG@10 is {shares[0]:.0%} of the ranking by true taste; at least {OF_TRUE_TASTE:.0%}": shares[0]
        >= OF_TRUE_TASTE
    }
    notes = [f"of new items alone NDCG@10 is {shares[1]:.0%} of the ranking by true taste (no limit is set for it)"]
    print_and_keep(
        "recommender_world_taste",
        f"NDCG@10 of the orders of {DAYS} days out of time, {len(rows):,} customers ({size})",
        [{"ranking": name, "all items": both[0], "new items": both[1]} for name, both in quality.items()],
        limit_words(limits) + notes,
    )
    return limits


@dataclass(frozen=True, eq=False)
class Risks:
    """Eligible customers at the churn test's cut-off with the probabilities that the churn model gave them."""

    as_of_us: int
    rows: np.ndarray
    probability: np.ndarray

    @classmethod
    def of(cls, shop: Shop, settings: Settings) -> Risks:
        """By a churn model trained on the shop's log."""
        trained = train_churn(shop.log, CHURN_FEATURES, settings.churn, observed_until_us=shop.end_us)
        test = label_test(shop.log, CHURN_FEATURES, trained.split, settings.churn, shop.end_us)
        forecast = trained.model.forecast(test.values, test.cutoffs[-1])
        return cls(test.cutoffs[-1], test.customer_rows, forecast.churn_probability_by_horizon[:, -1])


def print_churn_aware(shop: Shop, settings: Settings, size: str) -> Limits:
    """The true return rate with the objective moving with the risk and without, the same customers in both."""
    risks = Risks.of(shop, settings)
    fitted = Fitted.at(shop, risks.as_of_us, settings.recommender)
    truth, objective = shop.simulated.truth, load_recipe("home").objective
    histories = fitted.recommender.histories(shop.log.select(risks.rows), risks.as_of_us)
    people, n = fitted.people[risks.rows], len(risks.rows)
    day = (risks.as_of_us - truth.settings.start_us) // DAY_US
    in_stock = truth.catalogue.in_stock[day - 1][fitted.items]

    def answered(slates: np.ndarray) -> SlateResponses:
        return oracle_responses(truth, people, slates, risks.as_of_us, HORIZON_DAYS)

    def shown(aims: np.ndarray) -> np.ndarray:
        places = fitted.lists(histories, aims=aims, eligible=in_stock)
        return np.where(places >= 0, fitted.items[places], -1)

    slates = {
        "no slate": np.full((n, K), -1),
        "drawn": np.argsort(np.random.default_rng(0).random((n, len(truth.item_ids))), axis=1)[:, :K],
        "relevance alone": shown(np.zeros((n, 3))),
        "same for all": shown(objective.of_many(np.zeros(n))),
        "churn-aware": shown(objective.of_many(risks.probability)),
        "true taste and need": best_of(true_pull(truth, people, risks.as_of_us)),
    }
    found = {name: answered(one) for name, one in slates.items()}
    groups = _groups(objective, risks.probability)
    rows = [
        {"slate": name, **{group: float(one.return_probability[who].mean()) for group, who in groups.items()}}
        | {"margin shown": _margin_shown(truth.catalogue.price_minor, slates[name])}
        for name, one in found.items()
    ]
    difference = found["churn-aware"].return_probability - found["same for all"].return_probability
    limits, notes = {}, []
    for group, who in groups.items():
        mean, low, high = bootstrap_means(difference[who, None], np.random.default_rng(0), REPLICATES)[0]
        words = f"{group} ({who.sum():,}): {mean:+.6f}, 95% interval {low:+.6f} to {high:+.6f}"
        notes.append(f"churn-aware against the same for all, true return rate, {words}")
        if group == "high risk":
            limits["the return rate of those at high risk rises, the interval excludes 0"] = bool(low > 0)
        else:
            limits[f"{group}: it costs nothing measurable, the interval does not lie below 0"] = bool(high >= 0)
    title = f"P(an order within {HORIZON_DAYS} days) by slate, from the truth ({size})"
    print_and_keep("recommender_world_churn", title, rows, limit_words(limits) + notes)
    return limits


def _groups(objective: Objective, probability: np.ndarray) -> dict[str, np.ndarray]:
    high = probability >= objective.to_probability
    low = probability <= objective.from_probability
    return {"high risk": high, "between": ~high & ~low, "low risk": low}


def _margin_shown(price_minor: np.ndarray, slates: np.ndarray) -> float:
    """Mean rank of the prices shown, which stands for the margin."""
    shown = slates >= 0
    return float(price_ranks(price_minor.astype(np.float64))[slates[shown]].mean()) if shown.any() else float("nan")


def print_now(fitted: Fitted, size: str) -> Limits:
    """Views of the days after the cut-off, replayed one by one against the list from training time."""
    log, index, start_us = fitted.shop.log, fitted.recommender.index, fitted.as_of_us
    weights = fitted.recommender.settings.session
    rows, limits, notes = [], {}, [f"weights of a session, chosen before the cut-off: {_named(weights)}"]
    for news in (False, True):
        rng = np.random.default_rng(0)
        moments = Moments.read(log, start_us, start_us + DAYS * DAY_US, index, most=MOMENTS, rng=rng, news=news)
        found = _replayed(fitted, moments, {"of any list": None, "of a session": weights})
        wanted = "new to the session" if news else "any other item"
        rows += [{"next item": wanted, **row} for row in found]
        if not news:
            ours = found[-1]
            gain = float(ours["NDCG@10 now"]) / float(found[0]["NDCG@10 of training time"]) - 1
            changed = float(ours["list changes"])
            limits[f"the list changes after {changed:.1%} of views; at least {CHANGED:.0%}"] = changed >= CHANGED
            words = f"NDCG@10 of the next item is {gain:.0%} above the list of training time; at least {GAIN:.0%}"
            limits[words] = gain >= GAIN
    title = f"After an accepted view, {MOMENTS:,} views at most ({size})"
    print_and_keep("recommender_world_now", title, rows, limit_words(limits) + notes)
    return limits


def _replayed(fitted: Fitted, moments: Moments, blends: Mapping[str, Mapping[str, float] | None]) -> list[Row]:
    """What lists just after the views, just before them and from training time are worth; all leave out the same."""
    log, recommender = fitted.shop.log, fitted.recommender
    relevant = moments.relevant(len(fitted.items))
    instants = {"now": moments.as_of_us, "before": moments.as_of_us - 1, "then": np.full(len(moments), fitted.as_of_us)}
    histories = {
        name: moments.histories(log, recommender.index, recommender.settings.interactions, as_of_us=as_of)
        for name, as_of in instants.items()
    }
    rows: list[Row] = []
    for name, weights in blends.items():
        lists = {when: fitted.lists(one, weights=weights, excluded=moments.left_out) for when, one in histories.items()}
        quality = {when: float(ndcg(hits(one, relevant), relevant.counts).mean()) for when, one in lists.items()}
        items = [set(a) != set(b) for a, b in zip(lists["now"].tolist(), lists["before"].tolist(), strict=True)]
        rows.append(
            {
                "weights": name,
                "list changes": float((lists["now"] != lists["before"]).any(axis=1).mean()),
                "other items": float(np.mean(items)),
                "NDCG@10 now": quality["now"],
                "before the view": quality["before"],
                "NDCG@10 of training time": quality["then"],
            }
        )
    return rows


def _named(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items() if weight > 0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=11, help="of the shop; what was tried out was tried on others")
    parser.add_argument("--only", choices=("taste", "churn", "now"), default=None)
    options = parser.parse_args(arguments)
    settings = Settings()
    shop = Shop.lived(options.scale, options.seed)
    size = f"{shop.log.n_customers:,} customers, {len(shop.log):,} events, seed {options.seed}"
    limits: Limits = {}
    if options.only != "churn":
        fitted = Fitted.at(shop, shop.end_us - DAYS * DAY_US, settings.recommender)
        if options.only != "now":
            limits |= print_taste(fitted, size)
        if options.only != "taste":
            limits |= print_now(fitted, size)
    if options.only in (None, "churn"):
        limits |= print_churn_aware(shop, settings, size)
    print(f"peak memory {peak_rss_gib():.1f} GiB")
    require_kept("the recommender on the simulated shop", limits)


if __name__ == "__main__":
    main()
