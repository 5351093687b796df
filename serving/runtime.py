"""All that a running service holds: opened once at start, kept in step with the store, closed at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from features.churn_features import CHURN_FEATURES
from features.errors import UnavailableError
from features.event_log import EventLog
from features.pseudonyms import Pseudonyms
from features.schema import ITEMS
from features.tables import read_table
from serving.access.counts import open_counts
from serving.access.gate import Access
from serving.access.key_ring import KeyRing
from serving.access.limits import Limits
from serving.access.tokens import Tokens
from serving.decisions import DecisionLog
from serving.following import Following
from serving.histories import Histories, SealedHistory
from serving.identities import Identities
from serving.intake import EventIntake
from serving.kept_answers import KeptAnswers
from serving.met_customers import MetCustomers
from serving.metrics import Metrics
from serving.pacing import paced
from serving.pages import Pages
from serving.releases import Releases, Served
from serving.rollouts.arm_totals import ArmTotals
from serving.rollouts.controller import Controller
from serving.rollouts.promotion_log import older_allowed
from serving.rollouts.shadow import Shadow, ShadowLimits, ShadowSetting, shadow_of
from serving.rollouts.shadow_process import described
from serving.rollouts.state import Change, RolloutState, SupersededError, read_rollout, set_champion
from serving.score_books import ScoreBooks
from serving.settings import ServiceSettings
from serving.snapshots import Snapshots
from serving.store import Store
from serving.stored_scores import StoredScores
from serving.storefronts import Storefronts

__all__ = ["Runtime"]

_LOADING_RESTS = 2.0
"""Times its own work that a release rests while it loads beside one that answers: it then takes a second or two."""

_SCORING_RESTS = 1.0
"""The same of scores of a snapshot: until they are there, every answer works out its own, which costs more."""


@dataclass(eq=False)
class Runtime:
    """The parts of a running service.

    `clock` gives UTC microseconds and `new_id` a fresh random name; both come from the edge. `storefronts` answer
    slates and `pages` remember them for the next page. `totals` count what the arms of a rollout do, and `shadow` asks
    the challenger where nobody is to see it. `books` are the scores of everybody as the nightly job keeps them,
    `scores` those of the snapshots, `identities` the outside ids of pseudonyms, `met` those that the service was told
    first, `access` knows who calls. `closing` gives back what was opened.
    """

    settings: ServiceSettings
    clock: Callable[[], int]
    new_id: Callable[[], str]
    metrics: Metrics
    store: Store
    pseudonyms: Pseudonyms
    histories: Histories
    releases: Releases
    intake: EventIntake
    decisions: DecisionLog
    totals: ArmTotals
    controller: Controller
    shadow: Shadow
    storefronts: Storefronts
    snapshots: Snapshots
    books: ScoreBooks
    scores: StoredScores
    identities: Identities
    met: MetCustomers
    access: Access
    kept_answers: KeptAnswers
    pages: Pages
    closing: ExitStack = field(default_factory=ExitStack, repr=False)
    following: Following = field(init=False, repr=False)
    _shown: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self.following = Following(self.histories)

    @classmethod
    def open(
        cls,
        settings: ServiceSettings,
        *,
        resolve: Callable[[str], Path],
        clock: Callable[[], int],
        new_id: Callable[[], str],
        metrics: Metrics,
    ) -> Runtime:
        """Open the store, read the log, load the release; takes seconds for a million events.

        A refused release is no error here: the service starts, says why at /readyz, and tries again.

        Raises:
            UnavailableError: the store is locked.
            ArtefactError: the store, the log or the keys are damaged.
        """
        with ExitStack() as opened:  # what a failed start opened is given back: it is tried again and again
            runtime = cls._opened(opened, settings, resolve, clock, new_id, metrics)
            runtime.poll()
            runtime.closing = opened.pop_all()
        return runtime

    @classmethod
    def _opened(
        cls,
        opened: ExitStack,
        settings: ServiceSettings,
        resolve: Callable[[str], Path],
        clock: Callable[[], int],
        new_id: Callable[[], str],
        metrics: Metrics,
    ) -> Runtime:
        places = settings.places
        store = Store.open(places.store, lock_timeout_ms=settings.lock_timeout_ms, check=True)
        opened.callback(store.close)
        store.timed = metrics.store_seconds.observe
        _begin(store, settings.release, clock())
        log = EventLog.open(places.event_log) if places.event_log.exists() else None
        histories = Histories(store, SealedHistory.of(log))
        opened.callback(histories.close)
        decisions = DecisionLog(
            store,
            capacity=settings.max_pending_decisions,
            count=lambda outcome, n: metrics.decisions.labels(outcome).inc(n),
        )
        opened.callback(decisions.close)
        totals = ArmTotals(store, lambda: clock() - settings.clock_shift_us, new_id())
        opened.callback(totals.close)
        shadow = _shadow(opened, settings, resolve, metrics, totals)
        intake = EventIntake(store, clock, capacity=settings.max_pending_events)
        opened.callback(intake.close)
        storefronts = Storefronts(_out_of_stock(places.items))
        return cls(
            settings,
            clock,
            new_id,
            metrics,
            store,
            Pseudonyms.load_or_create(places.pseudonym_keys),
            histories,
            Releases(
                resolve,
                CHURN_FEATURES,
                settings.trusted,
                storefronts,
                older_allowed=partial(older_allowed, store),
                refused=metrics.refusals.inc,
            ),
            intake,
            decisions,
            totals,
            Controller(store, settings.rollout_interval_s),
            shadow,
            storefronts,
            Snapshots(places.snapshots, CHURN_FEATURES),
            ScoreBooks(places.scores),
            StoredScores(),
            Identities(places.identities, places.met_identities),
            MetCustomers(places.met_identities),
            _access(opened, settings, store, lambda: clock() - settings.clock_shift_us),
            KeptAnswers(store, clock, new_id),
            Pages(store, clock),
        )

    @property
    def served(self) -> Served:
        """What answers now.

        Raises:
            UnavailableError: no release is loaded.
        """
        served = self.releases.served
        if served is None:
            raise UnavailableError(self.why_not_ready())
        return served

    def machine_clock(self) -> int:
        """UTC microseconds by the machine's own clock, which leads rollouts whatever day the shop is in."""
        return self.clock() - self.settings.clock_shift_us

    def why_not_ready(self) -> str:
        """What is missing before the service can answer."""
        if self.releases.refusals:
            refused = self.releases.refusals.items()
            return "; ".join(f"release {name} was refused: {why.detail}" for name, why in refused)
        return "no release is set; make one and set it, then this service loads it by itself"

    def poll(self) -> None:
        """Follow all that others change: the rollout, then what is scored beforehand.

        Raises:
            UnavailableError: the store cannot be read now; what is served goes on.
        """
        self.follow()
        self.refresh()

    def follow(self) -> None:
        """Look at the rollout and follow its state; called often, by one thread.

        Raises:
            UnavailableError: the store cannot be read now; what is served goes on.
        """
        now_us = self.machine_clock()
        judged = self.controller.poll(now_us)
        if judged is not None:
            self.metrics.judged(judged.action, now_us)
        state = read_rollout(self.store)
        if state is not None and self._differs(state):
            with paced(_LOADING_RESTS if self.releases.served is not None else 0.0):
                self.releases.update(state)
            self.totals.turn(state.revision, max(now_us, state.step_started_us or 0))
            self.shadow.follow(shadow_of(self.releases.served))
            self._report_shares()

    def refresh(self) -> None:
        """Follow the snapshots and their scores, and the books.

        Scores of a large shop take a while to work out: this may run beside `follow`, so that no rollback waits for it.
        """
        served = self.releases.served
        releases = () if served is None else (served.champion, served.challenger)
        self.snapshots.poll([one.table for one in releases if one is not None and one.table is not None])
        self.books.poll(self.clock())
        stored = [(one, self.snapshots.of(one.fingerprint)) for one in releases if one is not None]
        with paced(_SCORING_RESTS):
            self.scores.poll([(one, features) for one, features in stored if features is not None])

    def close(self) -> None:
        """Write what waits and give everything back."""
        self.closing.close()

    def _differs(self, state: RolloutState) -> bool:
        served = self.releases.served
        return served is None or served.state.revision != state.revision or bool(self.releases.refusals)

    def _report_shares(self) -> None:
        served = self.releases.served
        if served is not None:
            share = served.state.share if served.challenger is not None else 0.0
            shares = dict.fromkeys(self._shown, 0.0) | {served.champion.name: 1.0 - share}
            if served.challenger is not None:
                shares[served.challenger.name] = share
            for name, value in shares.items():
                self.metrics.signs.release_share.labels(name).set(value)
            self._shown |= set(shares)


def _access(opened: ExitStack, settings: ServiceSettings, store: Store, clock: Callable[[], int]) -> Access:
    """By the machine's own clock: keys and tokens are given out by it, whatever day the shop is in."""
    places, wanted = settings.places, settings.tokens
    counts = open_counts(places.store, places.limits, settings.lock_timeout_ms)
    opened.callback(counts.close)
    keys = KeyRing.open(store, clock)
    opened.callback(keys.close)
    limits = Limits(counts, clock, settings.customer_per_minute)
    return Access(keys, limits, None if wanted is None else Tokens(wanted, clock))


def _begin(store: Store, release: str | None, at_us: int) -> None:
    """Let an empty store serve a release, where one is named."""
    if release is not None and read_rollout(store) is None:
        first = Change("service", at_us, "the first release of an empty store")
        with suppress(SupersededError):  # another service has begun meanwhile
            set_champion(store, release, first, revision=0)


def _shadow(
    opened: ExitStack,
    settings: ServiceSettings,
    resolve: Callable[[str], Path],
    metrics: Metrics,
    totals: ArmTotals,
) -> Shadow:
    """Ready to ask a challenger beside the answers."""
    setting = ShadowSetting(
        totals,
        lambda name: described(settings, resolve(name)),
        lambda outcome, n: metrics.shadowed.labels(outcome).inc(n),
        ShadowLimits(memory_bytes=settings.shadow_memory_mib << 20),
    )
    shadow = Shadow(setting)
    opened.callback(shadow.close)
    return shadow


def _out_of_stock(path: Path) -> frozenset[str]:
    items = read_table(path, ITEMS)
    return frozenset(items.filter(pc.equal(items["in_stock"], False))["item_id"].to_pylist())
