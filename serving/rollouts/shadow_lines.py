"""What a shadow is asked: as handed over by an answer, and as the line that its process reads.

Pseudonyms are all that names anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.kept_requests import kept_request
from serving.rollouts.arm_totals import Compared
from serving.storefront import SlateRequest

__all__ = ["AskedScore", "AskedSlate"]

_TOLD = ("stored", "reasons", "actions", "forecast", "segment", "what_if", "language")


@dataclass(frozen=True, eq=False)
class AskedScore:
    """A churn answer of the champion.

    told: what was told beside the score, by the names of `ChurnRequest`; `stored` is whether it came from stored
    features.
    """

    customer_key: str
    as_of_us: int
    told: Mapping[str, Any]
    probability: float
    band: str

    @classmethod
    def of(cls, customer_key: str, as_of_us: int, told: Mapping[str, Any], answer: Mapping[str, Any]) -> AskedScore:
        """Of an answer as given."""
        return cls(customer_key, as_of_us, told, answer["churn_probability"], answer["band"])

    def line(self) -> dict[str, Any]:
        """For the process."""
        return {
            "kind": "churn",
            "customer_key": self.customer_key,
            "as_of_us": self.as_of_us,
            "told": {name: self.told[name] for name in _TOLD},
        }

    def compared(self, answer: Mapping[str, Any]) -> Compared:
        """Beside what the shadow answered."""
        return Compared(self.probability, self.band, float(answer["probability"]), str(answer["band"]))


@dataclass(frozen=True, eq=False)
class AskedSlate:
    """A slate of the champion.

    placement: None for a list that the caller brought. excludes: the exclusions that the call named. risk: the churn
    probability that it was made for. item_ids: what was shown.
    """

    customer_key: str | None
    visitor_key: str | None
    as_of_us: int
    placement: str | None
    wanted: SlateRequest
    excludes: Mapping[str, Any]
    risk: float | None
    recommendation_id: str
    item_ids: tuple[str, ...]

    @classmethod
    def of(
        cls,
        customer_key: str | None,
        visitor_key: str | None,
        as_of_us: int,
        asked: tuple[str | None, SlateRequest, Mapping[str, Any]],
        risk: float | None,
        answer: Mapping[str, Any],
    ) -> AskedSlate:
        """Of an answer as given; `asked` is placement, wanted and excludes."""
        item_ids = tuple(item["item_id"] for item in answer["items"])
        return cls(customer_key, visitor_key, as_of_us, *asked, risk, answer["recommendation_id"], item_ids)

    def line(self) -> dict[str, Any]:
        """For the process."""
        return {
            "kind": "slate",
            "customer_key": self.customer_key,
            "visitor_key": self.visitor_key,
            "as_of_us": self.as_of_us,
            "placement": self.placement,
            "request": kept_request(self.wanted, self.excludes),
            "risk": self.risk,
            "recommendation_id": self.recommendation_id,
        }

    def compared(self, answer: Mapping[str, Any]) -> Compared | None:
        """Beside what the shadow answered; None where the champion showed nothing."""
        if not self.item_ids:
            return None
        return Compared(overlap=len(set(self.item_ids).intersection(answer["item_ids"])) / len(self.item_ids))
