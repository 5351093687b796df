"""Choose band cut-offs by what an offer costs and what a kept customer is worth.

Treating customer i, who leaves with probability p and is worth V if they stay, brings on average

    gain = p * save_rate * margin_share * V - offer

and treating everybody with a probability of at least t brings the sum of these gains. `high` is the t at which the sum
is greatest among those that capacity allows; `medium` the same for a contact at `medium_cost_share` of the cost,
without a limit: who repays less than an offer, or comes after capacity is used up. As the cost falls the best t never
rises, so medium lies below high. At the margin the gain is 0: there p is the break-even probability
offer / (save_rate * margin_share * V), of customers who are worth V on average.

The probabilities and values are the model's own, on the calibration slice: a choice, not a proof of profit.

Source: after the profit of a retention campaign in Neslin, Gupta, Kamakura, Lu and Mason 2006, Defection Detection,
Journal of Marketing Research 43; here values differ by customer and an offer costs the same whoever gets it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from features.errors import ArtefactError
from serving import strict_json
from serving.bands import BandChoice, Bands
from serving.churn_model import ChurnModel
from training.churn import choose_bands
from training.cost_settings import CostSettings
from training.release_settings import BandSettings

__all__ = [
    "LossCurve",
    "bands_for",
    "bands_from_costs",
    "calibration_losses",
    "calibration_probabilities",
    "loss_curve",
]

Array = npt.NDArray[np.float64]
_WHAT = "losses.json"
_FORMAT = 1
_MOST_POINTS = 1_000


@dataclass(frozen=True, eq=False)
class LossCurve:
    """What is expected to be lost with the riskiest customers of a slice; enough to choose bands by any costs.

    probability: float64 (q,), falling and distinct: a cut-off at it takes in all of the rows down to it.
    n_above: float64 (q,), rising: customers with at least that probability.
    lost_minor: float64 (q,), rising: the sum of probability times value if they stay, over these; minor units.
    n_eligible: customers who can be scored at one instant, of whom the slice may be a share.
    """

    probability: Array
    n_above: Array
    lost_minor: Array
    horizon_days: int
    n_eligible: int

    def __post_init__(self) -> None:
        parts = (self.probability, self.n_above, self.lost_minor)
        if self.probability.size == 0 or len({part.shape for part in parts}) != 1:
            raise ArtefactError("a loss curve needs points, each with a probability, a count and an amount")
        if not all(np.isfinite(part).all() for part in parts) or self.probability[-1] < 0 or self.probability[0] > 1:
            raise ArtefactError("a loss curve is finite, with probabilities from 0 to 1")
        if (np.diff(self.probability) >= 0).any() or (np.diff(self.n_above) <= 0).any() or self.n_above[0] <= 0:
            raise ArtefactError("along a loss curve probabilities fall and counts rise")
        for part in parts:
            part.setflags(write=False)

    def to_file(self) -> bytes:
        """The curve as JSON."""
        return strict_json.write_object(
            {
                "format": _FORMAT,
                "probability": self.probability.tolist(),
                "n_above": self.n_above.tolist(),
                "lost_minor": self.lost_minor.tolist(),
                "horizon_days": self.horizon_days,
                "n_eligible": self.n_eligible,
            }
        )

    @classmethod
    def from_file(cls, data: bytes) -> LossCurve:
        """The curve that `to_file` wrote.

        Raises:
            ArtefactError: a part is missing, of a wrong type or out of order.
        """
        content: dict[str, Any] = strict_json.read_object(data, _WHAT)
        if content.get("format") != _FORMAT:
            raise ArtefactError(f"{_WHAT} is not of format {_FORMAT}; train again")
        return cls(
            probability=strict_json.numbers(content, "probability", _WHAT),
            n_above=strict_json.numbers(content, "n_above", _WHAT),
            lost_minor=strict_json.numbers(content, "lost_minor", _WHAT),
            horizon_days=strict_json.whole(content, "horizon_days", _WHAT, 1, 36_500),
            n_eligible=strict_json.whole(content, "n_eligible", _WHAT, 1, 1 << 53),
        )


def loss_curve(
    probabilities: Array, value_if_stays_minor: Array, *, horizon_days: int, n_eligible: int
) -> LossCurve | None:
    """The curve of a slice, of at most 1,000 points; None where no value is known.

    Args:
        probabilities: float64 (n,), of churning.
        value_if_stays_minor: float64 (n,), minor units; NaN counts as 0, nothing to keep.
        horizon_days: of the probabilities.
        n_eligible: see `LossCurve`.
    """
    if probabilities.size == 0 or np.isnan(value_if_stays_minor).all():
        return None
    order = np.argsort(-probabilities, kind="stable")
    said = probabilities[order]
    lost = np.cumsum(said * np.nan_to_num(value_if_stays_minor[order]))
    ends = np.flatnonzero(np.append(np.diff(said) != 0, True))
    if ends.size > _MOST_POINTS:
        ends = ends[np.linspace(0, ends.size - 1, _MOST_POINTS).round().astype(np.int64)]
    return LossCurve(said[ends], (ends + 1).astype(np.float64), lost[ends], horizon_days, n_eligible)


def bands_from_costs(curve: LossCurve, costs: CostSettings) -> Bands:
    """The cut-offs of greatest expected profit; see the module. Where no offer pays, nobody is high."""
    kept = costs.kept_minor(curve.lost_minor)
    scale = curve.n_eligible / float(curve.n_above[-1])
    capacity = costs.capacity(curve.horizon_days)
    allowed = curve.n_above * scale <= capacity
    high, profit = _best(kept - costs.offer_minor * curve.n_above, allowed)
    cheap = costs.medium_cost_share * costs.offer_minor
    medium, _ = _best(kept - cheap * curve.n_above, np.ones_like(allowed))
    n_high = 0.0 if high is None else float(curve.n_above[high]) * scale
    figures = {
        "margin_share": costs.margin_share,
        "offer_minor": float(costs.offer_minor),
        "save_rate": costs.save_rate,
        "medium_cost_share": costs.medium_cost_share,
        "n_eligible": float(curve.n_eligible),
        "n_high": n_high,
        "expected_profit_minor": profit * scale,
        **({} if math.isinf(capacity) else {"capacity": capacity}),
    }
    cuts = [1.0 if place is None else float(curve.probability[place]) for place in (medium, high)]
    return Bands(cuts[0], cuts[1], BandChoice("costs", _sentence(figures, cuts, capacity), figures))


def bands_for(curve: LossCurve | None, costs: CostSettings | None, reference: Array, shares: BandSettings) -> Bands:
    """Bands by costs where these are set and a value is known, else by shares of `reference`; the choice says which.

    reference: float64 (n,), probabilities of the calibration slice, or evenly spaced quantiles of them.
    """
    if costs is not None and curve is not None:
        return bands_from_costs(curve, costs)
    chosen = choose_bands(reference, high_share=shares.high_share, medium_share=shares.medium_share)
    why = "no costs are set ([churn.costs])" if costs is None else "the model knows no value of a customer"
    sentence = (
        f"High is the riskiest {shares.high_share:.0%} of the customers and medium the next {shares.medium_share:.0%}, "
        f"because {why}."
    )
    figures = {"high_share": shares.high_share, "medium_share": shares.medium_share}
    return Bands(chosen.medium, chosen.high, BandChoice("shares", sentence, figures))


def calibration_losses(model: ChurnModel, values: Array, probabilities: Array, *, n_eligible: int) -> LossCurve | None:
    """The loss curve of a calibration slice.

    Args:
        model: a fitted model.
        values: float64 (n, f), of the slice.
        probabilities: of `calibration_probabilities`, float64 (n,).
        n_eligible: see `LossCurve`; the slice may be a share of the customers only.
    """
    worth = model.forecast(values).value_if_stays_minor
    return loss_curve(probabilities, worth, horizon_days=model.horizon_days, n_eligible=n_eligible)


def calibration_probabilities(model: ChurnModel, values: Array, *, fitted: bool) -> Array:
    """What a model says of the rows it was calibrated on, float64 (n,), the season left out.

    Of rows that it was `fitted` on, it would say too surely what it has seen. The order is theirs, but each gets the
    probability of its rank (of equals the mean rank) in `model.reference`: what was said of customers held out.
    """
    said = model.probabilities(values)
    if not fitted:
        return said
    places = (rankdata(said) - 0.5) / said.size
    held_out = np.interp(places, np.linspace(0.0, 1.0, model.reference.size), model.reference)
    return np.asarray(held_out, dtype=np.float64)


def _best(profit: Array, allowed: npt.NDArray[np.bool_]) -> tuple[int | None, float]:
    """The place of the greatest profit above 0 among the allowed ones, and that profit; None and 0 if there is none."""
    usable = np.where(allowed, profit, -math.inf)
    place = int(np.argmax(usable))
    return (place, float(usable[place])) if usable[place] > 0 else (None, 0.0)


def _sentence(figures: Mapping[str, float], cuts: list[float], capacity: float) -> str:
    assumed = (
        f"an offer costs {figures['offer_minor']:,.0f} minor units and keeps {figures['save_rate']:.0%} of those about "
        f"to leave, of whose orders {figures['margin_share']:.0%} stay with the shop"
    )
    if figures["n_high"] == 0:
        return f"Nobody is high: if {assumed}, no offer within capacity is expected to repay its cost."
    full = " as many as capacity allows," if capacity < math.inf and figures["n_high"] > 0.99 * capacity else ""
    return (
        f"High is a probability of {cuts[1]:.3f} or more:{full} {figures['n_high']:,.0f} of "
        f"{figures['n_eligible']:,.0f} customers, who are expected to bring {figures['expected_profit_minor']:,.0f} "
        f"minor units together after the cost of the offers, if {assumed}. Medium, from {cuts[0]:.3f}, is worth a "
        f"contact at {figures['medium_cost_share']:.0%} of that cost."
    )
