"""Check-ins of Gowalla in the split of LightGCN. Settings were chosen on a slice of the training part."""

from __future__ import annotations

from pathlib import Path

from benchmarks.published.held_out_lists import Recipe, table
from benchmarks.published.table import PublishedTable
from training.sources.als import AlsSettings, fit_als
from training.sources.graph import GraphSettings, fit_graph
from training.sources.rp3beta import Rp3BetaSettings, fit_rp3beta

FOLDER = "gowalla"
ALS = AlsSettings(factors=128, iterations=6, regularization=100.0, alpha=20.0)
GF_CF = GraphSettings(
    customer_power=1.0, sharpening=0.0, popularity_power=0.0, low_pass=0.3, factors=256, neighbours=0, rounds=40
)
"""As published: the filter whole, its directions as good as exact."""
RECIPE = Recipe(
    title="Gowalla",
    fits={
        "graph": lambda histories, n_items: fit_graph(histories, n_items, GraphSettings()),
        "als": lambda histories, n_items: fit_als(histories, n_items, ALS),
        "rp3beta": lambda histories, n_items: fit_rp3beta(histories, n_items, Rp3BetaSettings()),
    },
    papers={"GF-CF": lambda histories, n_items: fit_graph(histories, n_items, GF_CF)},
    published={
        "ItemCF": (0.1570, 0.1214),
        "MF-BPR": (0.1627, 0.1378),
        "SLIM": (0.1699, 0.1382),
        "EASE": (0.1765, 0.1467),
        "LightGCN": (0.1820, 0.1547),
        "GF-CF": (0.1849, 0.1518),
        "UltraGCN": (0.1862, 0.1580),
        "SimpleX": (0.1872, 0.1557),
    },
    least=(0.1900, 0.1580),
    size=(29_858, 40_981, 810_128),
    reproduced=("GF-CF",),
)


def run(folder: Path) -> PublishedTable:
    """The table of a folder in the form of Gowalla's."""
    return table("published_gowalla", RECIPE, folder)
