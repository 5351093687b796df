"""What recommendations cost: fit, one request, a million items, everybody at once; each beside implicit itself.

CPU seconds are those of the process that works; the machine may be busy with other things.

Run: python -m benchmarks.bench_recommend_speed [--only fit request million batch] [--scale 1.0]
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import psutil
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix, save_npz

from benchmarks.bench_http import Server, started
from benchmarks.http_load import Load, measure, middle, request
from benchmarks.recommend_worlds import AS_OF_US, World, lay_out, recommender, trained
from benchmarks.report import limit_words, print_and_keep, require_kept
from features.customer_view import CustomerView
from features.interactions import InteractionSettings, ItemIndex
from features.workspace import Workspace
from serving.recipe import load_recipe
from serving.recommender import Recommender
from serving.settings import ServiceSettings, serve_command
from serving.sources.factors import FactorSource
from serving.sources.histories import Histories
from serving.storefront import SlateRequest, Storefront
from training.batch_recommendation import SlateOptions, slate_chunks
from training.demo import free_port
from training.fitted_sources import SourceSettings
from training.sources.als import AlsSettings, fit_als

K, CANDIDATES = 20, 200
WANTED = SlateRequest(limit=K, where="price_minor < 15000", diversity=0.3)
AT_ANY_SIZE = (
    "als",
    "popularity",
    "buy_again",
    "category_popularity",
    "content",
    "next_basket",
    "recent",
    "session_knn",
    "transitions",
)
Row = dict[str, Any]
Part = tuple[list[Row], dict[str, bool]]


def used(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What some work gives, its CPU seconds and its seconds."""
    cpu, clock = time.process_time(), time.perf_counter()
    made = work()
    return made, time.process_time() - cpu, time.perf_counter() - clock


def bare(matrix: csr_matrix, settings: AlsSettings) -> AlternatingLeastSquares:
    """Implicit with the same settings: `confidence` holds 1 + alpha w already."""
    model = AlternatingLeastSquares(
        factors=settings.factors,
        regularization=settings.regularization,
        alpha=1.0,
        iterations=settings.iterations,
        num_threads=settings.n_threads,
        random_state=settings.seed,
    )
    model.fit(matrix, show_progress=False)
    return model


def fit(scale: float) -> Part:
    """From the events in memory to the factors, beside implicit from row, column and weight to the factors."""
    world = World.drawn(int(500_000 * scale), int(50_000 * scale), int(10_000_000 * scale), 1)
    view, settings = world.view(), AlsSettings()
    index = ItemIndex(tuple(world.item_ids()))
    index.positions  # noqa: B018 - the catalogue has it already
    read, read_cpu, read_s = used(lambda: Histories.read(view, AS_OF_US, index, InteractionSettings()))
    rows = np.repeat(np.arange(read.n_customers), np.diff(read.offsets))
    weights = 1 + np.float32(settings.alpha) * read.weights.astype(np.float32)
    theirs, their_cpu, their_s = used(
        lambda: bare(csr_matrix((weights, (rows, read.items)), (read.n_customers, world.n_items)), settings)
    )
    ours, own_cpu, own_s = used(lambda: fit_als(read, world.n_items, settings))
    same = bool(np.array_equal(ours.item_factors, theirs.item_factors))
    ratio = (read_cpu + own_cpu) / their_cpu
    table: list[Row] = [
        {"what": "ours, reading histories", "cpu_s": read_cpu, "s": read_s},
        {"what": "ours, fit", "cpu_s": own_cpu, "s": own_s},
        {"what": "bare implicit", "cpu_s": their_cpu, "s": their_s},
    ]
    words = f"fit on {len(world.items):,} interactions: {ratio:.2f} times the CPU of bare implicit, at most 1.1"
    return table, {words: ratio <= 1.1, "the factors are those of bare implicit": same}


def request_cost(scale: float) -> Part:
    """The service and the plain way on loopback, in turn; each with one process and with one for each core.

    The plain way is measured as it comes, where BLAS takes every core for each small solve even of one process, and
    with one BLAS thread, as a warning of implicit advises.
    """
    cores = os.cpu_count() or 1
    world = World.drawn(int(40_000 * scale), 50_000, int(800_000 * scale), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = release_world(world, folder)
        asked = [f"c{row:07d}" for row in np.unique(world.customers)[:500]]
        loads = {workers: request_loads(folder, workers, asked) for workers in sorted({1, cores})}
    words = {
        "ours": f"ours: {sources}; ranker, filter, objective, diversity, reasons",
        "plain": "plain: implicit and FastAPI as they come",
        "one thread": "plain with one BLAS thread",
    }
    table: list[Row] = [
        {
            "what": words[which],
            "processes": workers,
            "cpu_ms": load.cpu_us / 1e3,
            "requests_per_s": load.rps,
            "p50_ms": load.p50_ms,
        }
        for workers, found in loads.items()
        for which, load in found.items()
    ]
    cpu_ms = loads[1]["ours"].cpu_us / 1e3
    times = {workers: found["ours"].rps / found["plain"].rps for workers, found in loads.items()}
    advised = loads[cores]["ours"].rps / loads[cores]["one thread"].rps
    beside = f"{times[1]:.1f} times with one process each; {advised:.2f} times the plain way with one BLAS thread"
    return table, {
        f"one request takes {cpu_ms:.1f} ms of server CPU, at most 8": cpu_ms <= 8,
        f"{times[cores]:.1f} times the requests a second of the plain way as it comes, on every core, at least 2.5 "
        f"({beside})": times[cores] >= 2.5,
    }


def request_loads(folder: Path, workers: int, asked: list[str]) -> dict[str, Load]:
    """The middle of three rounds of the service and of both plain ways, with so many processes each."""
    port, shift = free_port(3410), AS_OF_US - time.time_ns() // 1_000
    settings = ServiceSettings(folder / "shop", release="r-bench", port=port, clock_shift_us=shift, workers=workers)
    command = serve_command(dataclasses.replace(settings, max_wait_ms=60_000))  # callers that never pause wait
    env = command.env | {"OPENBLAS_NUM_THREADS": "1"}
    body = {"limit": K, "filter": WANTED.where, "diversity": WANTED.diversity}
    plainly = [request("POST", "/recommend", {"customer_id": one, "limit": K}) for one in asked]
    wanted = [request("POST", "/v1/recommendations", {"customer_id": one, **body}) for one in asked]
    with ExitStack() as stack:
        servers = {
            "ours": stack.enter_context(started(list(command.argv), env, port, "/readyz", folder / "a.log")),
            "plain": stack.enter_context(plain_server(folder, workers, os.cpu_count() or 1)),
            "one thread": stack.enter_context(plain_server(folder, workers, 1)),
        }
        loads: dict[str, list[Load]] = {name: [] for name in servers}
        for number in range(4):
            for which, server in servers.items():
                calls = itertools.cycle(wanted if which == "ours" else plainly)
                load = measure(server.port, server.pid, calls, 5.0, 200)
                loads[which] += [load] if number else []  # the first round warms
    return {which: middle(found) for which, found in loads.items()}


def plain_server(folder: Path, workers: int, threads: int) -> AbstractContextManager[Server]:
    """Implicit behind FastAPI, with so many processes and BLAS threads."""
    port = free_port(3420)
    argv = [sys.executable, "-m", "uvicorn", "benchmarks.plain_fastapi:create", "--factory", "--port", str(port)]
    argv += ["--no-access-log", "--loop", "uvloop", "--http", "httptools", "--workers", str(workers)]
    env = {"OPENBLAS_NUM_THREADS": str(threads), "BENCH_FOLDER": str(folder)}
    return started(argv, env, port, "/readyz", folder / f"plain{threads}.log")


def release_world(world: World, folder: Path) -> str:
    """A workspace with log and release, and what the plain way reads; which sources the release asks, in words."""
    made = trained(world, world.view())
    lay_out(Workspace(folder / "shop"), world, made)
    settings = AlsSettings()
    matrix = world.matrix()
    matrix.data = (1 + settings.alpha * matrix.data).astype(np.float32)
    bare(matrix, settings).save(str(folder / "plain.npz"))
    save_npz(folder / "matrix.npz", matrix)
    return asked_sources(made)


def asked_sources(made: Recommender) -> str:
    """The sources that the blend asks."""
    return ", ".join(name for name, weight in made.settings.blend.items() if weight > 0)


def million(scale: float) -> Part:
    """A slate in this process, of 50,000 and of 1,000,000 items, and what the search for the best factors misses."""
    settings = SourceSettings(use=AT_ANY_SIZE, als=AlsSettings(iterations=5))
    table, medians, recall = [], [], 1.0
    for n_items, n_customers, n_events in ((50_000, 40_000, 800_000), (1_000_000, 400_000, 8_000_000)):
        world = World.drawn(int(n_customers * scale), int(n_items * scale), int(n_events * scale), 1)
        view = world.view()
        made, cpu_s, _ = used(lambda world=world, view=view: recommender(world, view, settings))
        some = [view.select([row]) for row in range(0, view.n_customers, max(1, view.n_customers // 300))]
        took = slates(made, some)
        recall = recall_of(made, view)
        medians.append(float(np.median(took)))
        table.append(
            {
                "items": world.n_items,
                "slate_cpu_ms": medians[-1],
                "slate_cpu_ms_p95": float(np.quantile(took, 0.95)),
                "recall_at_200": recall,
                "fit_cpu_s": cpu_s,
            }
        )
    ratio = medians[1] / medians[0]
    return table, {
        f"{ratio:.2f} times the cost with 20 times the items, at most 1.5": ratio <= 1.5,
        f"recall of the search {recall:.3f}, at least 0.95": recall >= 0.95,
    }


def slates(made: Recommender, histories: list[CustomerView]) -> list[float]:
    """CPU milliseconds of one slate each: filter, ranker, diversity and the rules of the placement "home"."""
    front, recipe, took = Storefront(made, made.catalogue), load_recipe("home"), []
    for number, history in enumerate([*histories[:20], *histories]):
        start = time.process_time()
        front.slate(history, AS_OF_US, WANTED, recipe)
        if number >= 20:
            took.append(1e3 * (time.process_time() - start))
    return took


def recall_of(made: Recommender, view: CustomerView) -> float:
    """What share of the best 200 items of a look at every item is proposed."""
    source = next(source for source in made.sources if isinstance(source, FactorSource))
    histories = made.histories(view.select(range(min(200, view.n_customers))), AS_OF_US)
    found = source.propose(histories, CANDIDATES).places
    shares = []
    for vector, own in zip(source.vectors(histories), found, strict=True):
        if np.any(vector):
            best = np.argpartition(-(source.item_factors @ vector), CANDIDATES)[:CANDIDATES]
            shares.append(float(np.isin(best, own).mean()))
    return statistics.mean(shares)


def batch(scale: float) -> Part:
    """Slates of everybody: implicit from its stored vectors; ours folded in from histories, one source and all."""
    world = World.drawn(int(100_000 * scale), 50_000, int(2_000_000 * scale), 1)
    view = world.view()
    made = trained(world, view)
    histories = made.histories(view, AS_OF_US)
    model = AlternatingLeastSquares(factors=64, num_threads=2)
    alone = made.with_blend({"als": 1.0})
    source = next(one for one in made.sources if isinstance(one, FactorSource))
    model.item_factors, model.user_factors = (
        source.item_factors,
        source.vectors(histories.part(0, histories.n_customers)),
    )
    matrix = histories.matrix(world.n_items)
    everybody = np.arange(histories.n_customers)
    process = psutil.Process()

    def run(which: Recommender) -> int:
        chunks = slate_chunks(which, histories, SlateOptions(K), which.catalogue.in_stock)
        return max(process.memory_info().rss for _ in chunks)

    theirs = used(lambda: model.recommend(everybody, matrix, N=K, filter_already_liked_items=False))
    before = process.memory_info().rss
    peak_one, one_cpu, one_s = used(lambda: run(alone))
    peak_all, all_cpu, all_s = used(lambda: run(made))
    grown = (max(peak_one, peak_all) - before) / 2**20
    table: list[Row] = [
        {"what": what, "cpu_s": cpu_s, "s": s, "customers_per_s": histories.n_customers / s}
        for what, cpu_s, s in (
            ("implicit, stored vectors", *theirs[1:]),
            ("ours, one source, folded in", one_cpu, one_s),
            (f"ours, {asked_sources(made)} and a ranker", all_cpu, all_s),
        )
    ]
    cpu = [one_cpu / theirs[1], all_cpu / theirs[1]]
    clock = [f"{one / theirs[2]:.2f} times by the clock" for one in (one_s, all_s)]
    return table, {
        f"one source takes {cpu[0]:.2f} times implicit's CPU, at most 1.2 ({clock[0]})": cpu[0] <= 1.2,
        f"the whole recipe takes {cpu[1]:.2f} times, at most 5 ({clock[1]})": cpu[1] <= 5,
        f"memory grew by {grown:.0f} MiB, at most 1,024": grown <= 1_024,
    }


PARTS: dict[str, Callable[[float], Part]] = {"fit": fit, "request": request_cost, "million": million, "batch": batch}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="of customers (fit, million: events and items too); below 1 for a look",
    )
    arguments = parser.parse_args()
    limits: dict[str, bool] = {}
    for name in arguments.only:
        rows, kept = PARTS[name](arguments.scale)
        load = f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        print_and_keep(f"recommend_speed_{name}", f"Speed of recommendations: {name}", rows, [*limit_words(kept), load])
        limits |= kept
    require_kept("bench_recommend_speed", limits)


if __name__ == "__main__":
    main()
