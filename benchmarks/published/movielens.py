"""MovieLens 1M in the split of UltraGCN. Settings were chosen on a slice of the training part."""

from __future__ import annotations

from pathlib import Path

from benchmarks.published.held_out_lists import Recipe, table
from benchmarks.published.table import PublishedTable
from training.sources.als import AlsSettings, fit_als
from training.sources.ease import EaseSettings, fit_ease
from training.sources.graph import GraphSettings, fit_graph
from training.sources.rp3beta import Rp3BetaSettings, fit_rp3beta

FOLDER = "movielens-1m-split"
ALS = AlsSettings(factors=256, iterations=8, regularization=200.0, alpha=20.0)
EASE = EaseSettings(neighbours=3_000)
PLAIN_EASE = EaseSettings(customer_power=0.0, popularity_power=0.0, neighbours=3_000)
GRAPH = GraphSettings(sharpening=4.0, low_pass=0.1, factors=128, neighbours=1_000)
# On two slices of the training part als (weights .1 to .3) added nothing to ease and graph, and rp3beta is far below.
RECIPE = Recipe(
    title="MovieLens 1M",
    fits={
        "ease": lambda histories, n_items: fit_ease(histories, n_items, EASE),
        "graph": lambda histories, n_items: fit_graph(histories, n_items, GRAPH),
    },
    papers={
        "EASE": lambda histories, n_items: fit_ease(histories, n_items, PLAIN_EASE),
        "als, not in the blend": lambda histories, n_items: fit_als(histories, n_items, ALS),
        "rp3beta, not in the blend": lambda histories, n_items: fit_rp3beta(histories, n_items, Rp3BetaSettings()),
    },
    published={"EASE": (0.2759, 0.2660), "UltraGCN": (0.2787, 0.2642)},
    least=(0.2830, 0.2720),
    size=(6_022, 3_043, 796_244),
    reproduced=("EASE",),
)


def run(folder: Path) -> PublishedTable:
    """The table of a folder in the form of the MovieLens split."""
    return table("published_movielens", RECIPE, folder)
