"""Request bodies and query strings: strict types, no unknown fields, every fault reported at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams

from features.errors import TimeError
from features.instants import parse_instant
from features.schema import KINDS, MAX_ID_LENGTH
from serving.bands import Band
from serving.cursors import MAX_CURSOR_LENGTH
from serving.lifecycle import STAGES
from serving.problems import FieldError, Problem, field_errors
from serving.slate_rules import LARGEST_FACTOR, SMALLEST_FACTOR
from serving.work_list import Sort

__all__ = [
    "MAX_BATCH",
    "MAX_EVENTS",
    "MAX_ITEMS",
    "MAX_LISTED",
    "BoostBody",
    "ChurnQuery",
    "EventBody",
    "EventsBody",
    "RankBody",
    "ReasonedBody",
    "RecommendationBody",
    "RolloutBody",
    "RolloutChangeBody",
    "ScoreBatchBody",
    "ServedQuery",
    "SimilarBody",
    "SinceQuery",
    "WorkListQuery",
    "from_query",
    "rejections",
]

B = TypeVar("B")

MAX_BATCH = 1_000
MAX_EVENTS = 500
MAX_ITEMS = 1_000
MAX_LISTED = 1_000
MAX_RANKED = 10_000
MAX_FILTER = 2_000
_INT64 = 2**63 - 1


def _fault(code: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("holdfast", "{text}", {"code": code, "text": message})


def _instant(text: str) -> str:
    try:
        parse_instant(text)
    except (TimeError, OverflowError) as error:
        if " " in text:  # what a plus sign becomes in a query string
            raise _fault("time", "a time holds a space; in a URL, write the + of an offset as %2B, or use Z") from None
        code = "naive_time" if "no offset" in str(error) else "time"
        raise _fault(code, str(error) or "a time is out of range") from None
    return text


def _as_whole(given: object) -> object:
    """5.0 as 5: in JSON they are one number, and some write all of theirs with a point."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]
Instant = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_instant)]
Word = Annotated[str, Field(min_length=1, max_length=64)]
_KEPT = r"^[^\u0000]*$"  # what every database can keep
KeptId = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=_KEPT)]
KeptWord = Annotated[str, Field(min_length=1, max_length=64, pattern=_KEPT)]
_WHOLE = BeforeValidator(_as_whole)
Whole = Annotated[int, Field(ge=0, le=_INT64), _WHOLE]
Positive = Annotated[int, Field(ge=1, le=_INT64), _WHOLE]
Shown = Annotated[int, Field(ge=1, le=100), _WHOLE]
Listed = Annotated[int, Field(ge=1, le=MAX_LISTED), _WHOLE]
Include = Literal["reasons", "actions", "forecast", "trend", "segment", "what_if"]
EVERYTHING: list[Include] = ["reasons", "actions", "forecast", "trend", "segment"]
_MOST_INCLUDED = len(EVERYTHING) + 1
Stage = Literal["no_order", "new", "growing", "active", "slipping", "at_risk", "lost", "won_back"]
Cursor = Annotated[str, Field(max_length=MAX_CURSOR_LENGTH)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ChurnQuery(_Body):
    """How a churn score is asked for."""

    as_of: Instant | None = None
    freshness: Literal["fresh", "stored"] = "fresh"
    include: list[Include] = Field(default=EVERYTHING, max_length=_MOST_INCLUDED)

    @model_validator(mode="after")
    def _one_moment(self) -> ChurnQuery:
        if self.as_of is not None and self.freshness == "stored":
            raise _fault("contradiction", "stored features have one cut-off; leave out as_of or ask for fresh ones")
        return self


class ScoreBatchBody(ChurnQuery):
    """Many customers at once; by default without reasons."""

    customer_ids: list[Id] = Field(min_length=1, max_length=MAX_BATCH)
    include: list[Include] = Field(default=[], max_length=_MOST_INCLUDED)


NOT_BUILT = ("context", "include")
"""Described in the conventions and not built yet: refused, because ignoring what is asked would mislead."""


class BoostBody(_Body):
    """The items that a filter lets through count `factor` times as much."""

    where: str = Field(min_length=1, max_length=MAX_FILTER)
    factor: float = Field(ge=SMALLEST_FACTOR, le=LARGEST_FACTOR)


class RecommendationBody(_Body):
    """What a storefront asks for. `session_id` is the anonymous_id of the visitor's events."""

    customer_id: Id | None = None
    session_id: Id | None = None
    placement: Word = "home"
    seed_items: list[Id] = Field(default=[], max_length=50)
    candidates: list[Id] | None = Field(default=None, min_length=1, max_length=MAX_ITEMS)
    limit: Shown | None = None
    filter: str = Field(default="", max_length=MAX_FILTER)
    boost: list[BoostBody] = Field(default=[], max_length=20)
    exclude_owned: bool | None = None
    exclude_seen: bool | None = None
    exclude_bought_within_days: float | None = Field(default=None, ge=0, le=3_650)
    diversity: float | None = Field(default=None, ge=0, le=1)
    next_of: Id | None = None

    @model_validator(mode="before")
    @classmethod
    def _built(cls, given: Any) -> Any:
        asked = [name for name in NOT_BUILT if isinstance(given, dict) and name in given]
        if asked:
            faults = tuple(FieldError(f"/{name}", "not_supported", "this field is not built yet") for name in asked)
            raise Problem(
                422, f"not supported yet: {', '.join(asked)}; leave it out", code="not_supported", errors=faults
            )
        return given


class SimilarBody(_Body):
    """How many similar items, and out of which."""

    limit: Shown = 10
    candidates: list[Id] | None = Field(default=None, min_length=1, max_length=MAX_ITEMS)
    filter: str = Field(default="", max_length=MAX_FILTER)


class RankBody(_Body):
    """A list to bring into the customer's order. What the filter or the stock takes out is not in the answer."""

    customer_id: Id | None = None
    session_id: Id | None = None
    items: list[Id] = Field(min_length=1, max_length=MAX_RANKED)
    limit: Annotated[int, Field(ge=1, le=MAX_RANKED), _WHOLE] | None = None
    filter: str = Field(default="", max_length=MAX_FILTER)


class WorkListQuery(_Body):
    """Which customers of the newest book of scores, in what order."""

    band: list[Band] = Field(default=[], max_length=3)
    stage: list[Stage] = Field(default=[], max_length=len(STAGES))
    segment: list[Word] = Field(default=[], max_length=50)
    everybody: bool = False
    sort: Sort = "-expected_loss"
    cursor: Cursor | None = None
    limit: Listed = 100


class SinceQuery(_Body):
    """What is new since a cursor; without one, from the beginning."""

    since: Cursor | None = None
    limit: Listed = 500


ReleaseName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
Why = Annotated[str, Field(max_length=500)]


class RolloutBody(_Body):
    """A rollout of a release: by a shipped plan, or by hand from a share on; 0 is a shadow."""

    release: ReleaseName
    plan: str = Field(default="default", min_length=1, max_length=64)
    share: float | None = Field(default=None, ge=0.0, le=1.0)
    older: bool = False
    why: Why = ""


class RolloutChangeBody(_Body):
    """A change of the rollout under way; with a `revision`, only if nobody changed it since."""

    why: Why = ""
    revision: Positive | None = None


class ReasonedBody(RolloutChangeBody):
    """A change that goes past the gates: it needs a reason."""

    why: str = Field(min_length=1, max_length=500)


class ServedQuery(_Body):
    """A customer, and an instant; without one, now."""

    customer_id: Id
    at: Instant | None = None


class EventsBody(_Body):
    """Events are looked at one by one: a faulty one is rejected, the others are taken."""

    events: list[Any] = Field(min_length=1, max_length=MAX_EVENTS)


class EventBody(_Body):
    """One event, as in the written schema, with the outside id of the customer or the visitor's anonymous_id.

    With both, as of a login, it is the customer's, and the visitor is the customer from then on.
    """

    event_id: KeptId
    customer_id: Id | None = None
    anonymous_id: Id | None = None
    occurred_at: Instant
    kind: str = Field(max_length=32, json_schema_extra={"enum": list(KINDS)})
    item_id: KeptId | None = None
    order_id: KeptId | None = None
    quantity: Positive | None = None
    amount_minor: Whole | None = None
    discount_minor: Whole | None = None
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    channel: KeptWord | None = None
    value: Annotated[int, Field(ge=-_INT64, le=_INT64), _WHOLE] | None = None
    topic: KeptWord | None = None
    text: str | None = Field(default=None, max_length=10_000, pattern=_KEPT)
    recommendation_id: KeptId | None = None
    decision_id: KeptId | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> EventBody:
        kind = KINDS.get(self.kind)
        if kind is None:
            raise _fault("unknown_kind", f"kind must be one of {', '.join(KINDS)}")
        if self.customer_id is None and self.anonymous_id is None:
            raise _fault("missing", "an event needs a customer_id or an anonymous_id")
        for name in kind.required:
            if getattr(self, name) is None:
                raise _fault("missing", f"an event of kind {kind.name} needs {name}")
        for name in ("amount_minor", "discount_minor"):
            if getattr(self, name) is not None and self.currency is None:
                raise _fault("missing", f"{name} needs a currency")
        if kind.value_range is not None and self.value is not None:
            low, high = kind.value_range
            if not low <= self.value <= high:
                raise _fault("out_of_range", f"value of kind {kind.name} lies from {low} to {high}")
        return self


_LISTS = {"seed_items", "candidates", "band", "stage", "segment"}
_CURSORS = {"cursor", "since"}
_FLAGS = {"exclude_owned", "exclude_seen", "everybody"}
_NUMBERS = {"limit", "exclude_bought_within_days", "diversity"}
_TRUTH = {"true": True, "false": False}
_NUMBER = re.compile(r"-?[0-9]{1,18}\Z")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?\Z")


def from_query(kind: TypeAdapter[B], query: QueryParams) -> B:
    """A body model from a query string: lists are comma-separated, `include=` empty asks for nothing.

    Raises:
        ValidationError: a name is unknown, or a value does not fit.
        Problem: a name is given twice.
    """
    given: dict[str, Any] = {}
    for name, text in query.multi_items():
        if name in given:
            raise Problem(422, "a query name is given twice; give it once", code="repeated")
        if name in _CURSORS and not text:  # a reader who starts has none yet
            continue
        if name == "include":
            given[name] = [part for part in text.split(",") if part]
        elif name in _LISTS:
            given[name] = text.split(",")
        elif name in _NUMBERS and _NUMBER.match(text):
            given[name] = int(text)
        elif name in _NUMBERS and _DECIMAL.match(text):
            given[name] = float(text)
        elif name in _FLAGS:
            given[name] = _TRUTH.get(text, text)
        else:
            given[name] = text
    return kind.validate_python(given)


def rejections(events: Sequence[Any]) -> tuple[list[tuple[int, EventBody]], list[dict[str, Any]]]:
    """Each event by itself: those that fit with their index, and {index, code, message} of those that do not."""
    fitting: list[tuple[int, EventBody]] = []
    rejected: list[dict[str, Any]] = []
    for index, event in enumerate(events):
        try:
            fitting.append((index, EventBody.model_validate(event)))
        except ValidationError as error:
            rejected.append({"index": index} | _first_fault(error))
    return fitting, rejected


def _first_fault(error: ValidationError) -> dict[str, str]:
    fault = field_errors(error)[0]
    where = fault.pointer.strip("/")
    return {"code": fault.code, "message": f"{where}: {fault.detail}" if where else fault.detail}
