"""What benchmarks are held to, and that a missed limit ends them with a failure."""

import dataclasses

import numpy as np
import pytest

from benchmarks import (
    bench_batch_scoring,
    bench_cdnow,
    bench_churn_tables,
    bench_shop_churn,
    bench_shop_recommendations,
)
from benchmarks.report import limit_words, require_kept
from tests.churn_worlds import known_law
from training.recommender_report import Estimate, Gain, RecommenderReport


def test_a_missed_limit_is_named_and_ends_with_a_failure():
    held = {"AUC 0.86 is above 0.85": True, "Brier 0.2 is below 0.1": False}
    assert limit_words(held) == ["kept: AUC 0.86 is above 0.85", "NOT kept: Brier 0.2 is below 0.1"]
    with pytest.raises(SystemExit, match=r"^limits NOT kept by the shop \(1\); see above$") as ended:
        require_kept("the shop", held)
    assert ended.value.code not in (0, None)
    require_kept("the shop", {"AUC 0.86 is above 0.85": True})
    require_kept("another shop", {})


def test_known_tables_are_held_to_their_figures_and_others_to_none():
    def row(table, model, **figures):
        return {"table": table, "model": model, **{name: f"{value:.4f} 0.1-0.9" for name, value in figures.items()}}

    rows = [
        row("telco", "holdfast", AUC=0.85, AP=0.1, F1=0.1),
        row("telco", "logistic", AUC=0.1, AP=0.1, F1=0.1),
        row("sparkify", "holdfast", AUC=0.93, AP=0.8499, F1=0.77),
        row("sparkify, no sums", "holdfast", AUC=0.1, AP=0.1, F1=0.1),
    ]
    assert bench_churn_tables.limits(rows) == {
        "telco: AUC 0.8500 is at least 0.850": True,
        "sparkify: AUC 0.9300 is at least 0.930": True,
        "sparkify: AP 0.8499 is at least 0.850": False,
        "sparkify: F1 0.7700 is at least 0.770": True,
    }


def test_the_median_of_bg_nbd_is_told_and_not_held_to():
    rows = [
        {"figure": figure, "ours": ours, "BG/NBD": theirs}
        for figure, ours, theirs in [
            ("MAE of the median", 0.76, 0.75),
            ("MAE of the mean", 0.77, 0.78),
            ("AUC of buying again", 0.78, 0.74),
            ("randomised coverage of p10-p90", 0.8, 0.8),
        ]
    ]
    published = {name: bench_cdnow.PUBLISHED[name] for name in ("r", "alpha", "a", "b")}
    held = bench_cdnow.limits(rows, published, bench_cdnow.SAMPLE_SIZE)
    assert not any("median" in words for words in held)
    assert f"our MAE 0.7600 is below {bench_cdnow.SAMPLE_MAE}" in held
    assert bench_cdnow.beside_their_median(rows) == (
        "for information: our MAE 0.7600 is not below that of BG/NBD's median, 0.7500"
    )


def test_a_shop_without_bg_nbd_is_not_held_to_it():
    test = known_law(np.random.default_rng(0), 400)
    said = {name: np.full(400, 0.5) for name in (bench_shop_churn.OURS, "logistic", "recency")}
    held = bench_shop_churn.limits([(said, test)])
    assert len(held) == 3
    with_theirs = bench_shop_churn.limits([({**said, "bg_nbd": np.full(400, 0.9)}, test)])
    assert [kept for words, kept in with_theirs.items() if words.startswith("Brier below BG/NBD's")] == [True]
    assert [kept for words, kept in held.items() if words.startswith("AUC above the logistic")] == [False]


def test_recommendations_of_a_shop_must_beat_each_of_three_by_more_than_noise_for_both_questions():
    def gain(over, segment, low):
        return Gain(over, segment, Estimate(low + 0.01, low, low + 0.02), 0.1)

    gains = [gain(over, kind, 0.002) for over in ("popularity", "buy_again", "als") for kind in ("repeat", "new")]
    report = RecommenderReport(0, 30, 9, 9, 9, 0, 0, {"als": 1.0}, (), (*gains, gain("ease", "new", -0.5)))
    held = bench_shop_recommendations.limits(report)
    assert list(held.values()) == [True] * 6
    worse = [gain(one.over, one.segment, -0.001) if (one.over, one.segment) == ("als", "new") else one for one in gains]
    missed = bench_shop_recommendations.limits(dataclasses.replace(report, gains=tuple(worse)))
    assert [words for words, kept in missed.items() if not kept] == [
        "new items: NDCG@10 above als's by +.0090 [-.0010, +.0190], an interval above 0"
    ]


@pytest.mark.parametrize(("rate", "fails"), [(60_000, False), (59_000, True)])
def test_scoring_too_slowly_fails(monkeypatch, rate, fails):
    one = {"seconds": 1.0, "customers": rate, "cpu_seconds": 1.0, "peak_gib": 0.1, "notes": ""}
    monkeypatch.setattr(bench_batch_scoring, "print_and_keep", lambda *_: None)
    found = dict.fromkeys(bench_batch_scoring.CASES, one)
    if fails:
        with pytest.raises(SystemExit, match="batch scoring"):
            bench_batch_scoring.report(found)
    else:
        bench_batch_scoring.report(found)
