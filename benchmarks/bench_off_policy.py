"""One policy's value from the other's log, on the Open Bandit Data: `python -m benchmarks.bench_off_policy`.

Two policies ran side by side in one shop and week: one drew items evenly, one by Thompson sampling (bts). What each
earned is known from its own log, with a 95% interval (rounds drawn anew); every estimator's answer from the other
policy's log is put beside it. bts reads nothing of the customer and drifts as it learns: what it would have shown in
the random policy's rounds is its share of each item at each position in its own log (its clicks are not read), and,
printed beside, the same share within some hours of the round. The random policy from the log of bts is judged by logged
propensities and by propensities averaged by item and position. A propensity set to 1e-6 shows what that does.
Run: python -m benchmarks.bench_off_policy [--data FOLDER] [--campaign men] [--seed 1]. Exit code 1 where a limit fails.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from benchmarks.open_bandit import OpenBandit, read_open_bandit
from benchmarks.report import limit_words, print_and_keep, require_kept
from training.logged_rounds import LoggedRounds, NewPolicy, by_item_and_position
from training.off_policy import ESTIMATORS, HEADLINE, Estimate, OffPolicyReport, evaluate_policy, logged_value
from training.reward_models import fit_logistic_rewards

DATA = Path(__file__).parents[2] / "shared" / "data" / "open-bandit-men"
HELD = tuple(name for name in ESTIMATORS if name != "direct")
"""The reward model alone is told and not held to: it errs wherever its form is wrong."""
WINDOW_HOURS = 6.0
MILLIONTH = 1e-6


def shares(rounds: LoggedRounds) -> np.ndarray:
    """(positions, items): how often each item was shown at a position."""
    shown = np.zeros((rounds.n_positions, rounds.n_items))
    np.add.at(shown, (rounds.positions, rounds.actions), 1.0)
    return shown / shown.sum(axis=1, keepdims=True)


def drifting(data: OpenBandit, hours: float) -> NewPolicy:
    """Shares of bts at the position among its rounds within some hours of each round of the random policy."""
    table = np.empty((data.random.n, data.random.n_items))
    for position in range(data.bts.n_positions):
        there = np.flatnonzero(data.bts.positions == position)
        there = there[np.argsort(data.bts_hours[there], kind="stable")]
        once = np.zeros((there.size + 1, data.random.n_items))
        np.add.at(once, (np.arange(1, once.shape[0]), data.bts.actions[there]), 1.0)
        until = once.cumsum(axis=0)
        at = data.bts_hours[there]
        rows = np.flatnonzero(data.random.positions == position)
        first = np.searchsorted(at, data.random_hours[rows] - hours)
        last = np.searchsorted(at, data.random_hours[rows] + hours)
        near = until[last] - until[first]
        near[first == last] = until[-1]
        table[rows] = near / near.sum(axis=1, keepdims=True)
    n, n_items = table.shape
    return NewPolicy(np.arange(n + 1) * n_items, np.tile(np.arange(n_items), n), table.ravel())


def told(of: str, how: str, report: OffPolicyReport, truth: Estimate) -> list[dict]:
    """A row an estimator."""
    return [
        {
            "policy": of,
            "judged by": how,
            "estimator": one.estimator,
            "clicks per 1,000": 1e3 * one.value,
            "95%": f"{1e3 * one.ci_low:.2f} .. {1e3 * one.ci_high:.2f}",
            "in its own interval": "yes" if inside(one, truth) else "no",
        }
        for one in report.estimates
    ]


def inside(one: Estimate, truth: Estimate) -> bool:
    return truth.ci_low <= one.value <= truth.ci_high


def limits(bts: OffPolicyReport, random: OffPolicyReport, own: dict[str, Estimate], worst: float) -> dict[str, bool]:
    """What should hold, and whether it does."""
    low, high = 1e3 * own["bts"].ci_low, 1e3 * own["bts"].ci_high
    held = {
        f"bts from the log of random, {name}: {1e3 * bts.of(name).value:.2f} lies in {low:.2f} .. {high:.2f}": inside(
            bts.of(name), own["bts"]
        )
        for name in HELD
    }
    one = random.of(HEADLINE)
    low, high = 1e3 * own["random"].ci_low, 1e3 * own["random"].ci_high
    words = f"random from the log of bts by item and position, {HEADLINE}: {1e3 * one.value:.2f} lies in"
    held[f"{words} {low:.2f} .. {high:.2f}"] = inside(one, own["random"])
    words = "1e-6 under a click moves no clipped estimate by more than its half interval, at worst"
    held[f"{words} {worst:.0%} of it"] = worst <= 1.0
    return held


def millionth(rounds: LoggedRounds, policy: NewPolicy, seed: int) -> tuple[dict[str, float], float]:
    """What a propensity of 1e-6 under a clicked round does.

    By clipped estimator, the move as a share of its own half interval; and the move of plain ips as a share of the
    logged value.
    """
    clicked = int(np.flatnonzero(rounds.rewards > 0)[0])
    propensities = rounds.propensities.copy()
    propensities[clicked] = MILLIONTH
    before, after = (
        evaluate_policy(log, policy, np.random.default_rng(seed))
        for log in (rounds, replace(rounds, propensities=propensities))
    )
    moved = {one.estimator: abs(after.of(one.estimator).value - one.value) for one in before.estimates}
    plain = moved["ips"] / before.logged.value
    return {
        one.estimator: 2.0 * moved[one.estimator] / (one.ci_high - one.ci_low)
        for one in before.estimates
        if one.estimator in HELD and one.estimator != "ips"
    }, plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--campaign")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if not given.data.is_dir():
        raise SystemExit("../shared/data is not there; name a folder with random/ and bts/ in it with --data")
    data = read_open_bandit(given.data, given.campaign)
    even = NewPolicy.by_position(
        np.full((data.bts.n_positions, data.bts.n_items), 1.0 / data.bts.n_items), data.bts.positions
    )
    thompson = NewPolicy.by_position(shares(data.bts), data.random.positions)
    averaged = by_item_and_position(data.bts)
    own = {name: logged_value(getattr(data, name), np.random.default_rng(given.seed)) for name in ("random", "bts")}
    judged = [
        ("bts", "log of random", data.random, thompson, None),
        ("bts", "log of random, logistic", data.random, thompson, fit_logistic_rewards),
        ("bts", f"log of random, +-{WINDOW_HOURS:.0f} h", data.random, drifting(data, WINDOW_HOURS), None),
        ("random", "log of bts", data.bts, even, None),
        ("random", "log of bts, averaged", averaged, even, None),
    ]
    rows, notes, reports = [], [], []
    for of, how, log, policy, fit in judged:
        rng = np.random.default_rng(given.seed)
        report = (
            evaluate_policy(log, policy, rng) if fit is None else evaluate_policy(log, policy, rng, fit_rewards=fit)
        )
        reports.append(report)
        rows += told(of, how, report, own[of])
        notes.append(
            f"{of} by {how}: {report.verdict}; {report.clipped_share:.1%} of weights clipped at {report.clip:.1f}"
        )
    for name, one in own.items():
        log = getattr(data, name)
        notes.append(
            f"{name} by its own log: {1e3 * one.value:.2f} clicks per 1,000, 95% {1e3 * one.ci_low:.2f} .. "
            f"{1e3 * one.ci_high:.2f}; {log.n:,} rounds, least propensity {log.propensities.min():.6f}"
        )
    moved, plain = millionth(data.bts, even, given.seed)
    words = ", ".join(f"{name} {share:.0%}" for name, share in moved.items())
    notes.append(f"1e-6 under one click of bts moves, as a share of the half interval: {words}")
    notes.append(f"the same moves plain ips by {plain:,.0%} of the logged value")
    held = limits(reports[0], reports[-1], own, max(moved.values()))
    title = f"Open Bandit, campaign {data.campaign}: a policy's value from the other policy's log"
    print_and_keep("off_policy", title, rows, [*notes, *limit_words(held)])
    require_kept("the Open Bandit Data", held)


if __name__ == "__main__":
    main()
