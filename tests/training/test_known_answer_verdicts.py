"""What the benchmark of known answers says of each model, and how it ends."""

import pytest

from benchmarks import bench_known_answers
from benchmarks.bench_known_answers import Verdict, main, recommender_verdict, require_kept

KEPT = Verdict("the recommender", ())
MISSED = Verdict("the churn model", ("calibration error at 30 days 0.0300 is above 0.02",))


def test_a_verdict_names_what_it_judges():
    assert KEPT.notes == ["the recommender keeps every limit set for it"]
    assert MISSED.notes == ["NOT kept by the churn model: calibration error at 30 days 0.0300 is above 0.02"]


def test_half_as_much_again_as_popularity_is_asked_of_the_recommender():
    assert recommender_verdict({"ours": 0.75, "popularity": 0.5}).missed == ()
    assert recommender_verdict({"ours": 0.725, "popularity": 0.5}).missed == (
        "NDCG@10 is 45.0% above popularity, less than 50%",
    )


def test_any_missed_limit_ends_with_a_failure_that_names_the_model():
    require_kept([KEPT])
    with pytest.raises(SystemExit, match=r"^limits NOT kept by the churn model \(1\); see above$"):
        require_kept([MISSED, KEPT])


@pytest.mark.parametrize(
    ("only", "fails"), [([], True), (["--only", "churn"], True), (["--only", "recommender"], False)]
)
def test_only_what_was_run_decides_how_the_benchmark_ends(monkeypatch, only, fails):
    class Lived:
        log = type("Log", (), {"n_customers": 1, "__len__": lambda _: 1})()

    monkeypatch.setattr(bench_known_answers.Shop, "lived", lambda *_: Lived())
    monkeypatch.setattr(bench_known_answers, "print_churn", lambda *_: MISSED)
    monkeypatch.setattr(bench_known_answers, "print_recommender", lambda *_: KEPT)
    monkeypatch.setattr("sys.argv", ["bench_known_answers", *only])
    if fails:
        with pytest.raises(SystemExit):
            main()
    else:
        main()
