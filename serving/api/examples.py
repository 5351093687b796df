"""The examples of the API document: one request and one answer of every call, as a person would read them."""

from __future__ import annotations

from typing import Any

__all__ = [
    "BATCH",
    "CHANGES",
    "CHURN",
    "EVENTS_BODY",
    "EVENTS_TAKEN",
    "NULLABLE",
    "PROBLEM",
    "RECOMMENDED",
    "RELEASES",
    "SCHEMAS",
    "SIMILAR",
    "SOMETIMES",
    "WARNINGS",
    "WORK_LIST",
]

_OBJECT: dict[str, Any] = {"type": "object"}
_DAY = {"type": ["string", "null"], "format": "date"}
_LOSS = {"amount_minor": 18250, "currency": "GBP"}
_SEGMENT = {"key": "s2", "name": "frequent small baskets"}
_STAGE = {"key": "slipping", "name": "slipping"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "value": {"type": ["number", "string", "null"]},
    "usual": {"type": ["number", "string", "null"]},
    "usual_of": {"type": ["string", "null"], "enum": ["own", "others", None]},
    "if_resolved": {
        "type": ["object", "null"],
        "properties": {"churn_probability": {"type": "number"}, "note": {"type": "string"}},
    },
    "next_purchase": {
        "type": "object",
        "properties": {"p10": _DAY, "p50": _DAY, "p90": _DAY, "reason": {"type": ["string", "null"]}},
    },
    "degraded_reason": {"type": ["string", "null"]},
    **dict.fromkeys(("provenance", "figures", "before", "after"), _OBJECT),
}
"""Of members that an example cannot show whole: by name, wherever they stand in an answer."""

NULLABLE = frozenset(
    {"expected_loss", "population_percentile", "segment", "lifecycle_stage", "rfm", "currency"}
    | {"trend.delta_7d", "trend.basis", "trend.since", "freshness.models", "freshness.churn_probability"}
    | {f"{days}.{level}" for days in ("days_90", "days_365") for level in ("p10", "p50", "p90")}
    | {"changes.band_before", "changes.band", "changes.churn_probability", "next_cursor", "next"}
)
"""Members that may be null: by name, or by the member that holds them and name."""

_MODEL = {"name": "churn", "version": "7", "release": "r-5f0c2a9d11be"}

CHURN: dict[str, Any] = {
    "customer_id": "17850",
    "horizon_days": 90,
    "churn_score": 91,
    "churn_probability": 0.7312,
    "percentile": 90.6,
    "band": "high",
    "band_cutoffs": {"medium": 0.41, "high": 0.68},
    "horizons": [
        {"horizon_days": 30, "churn_probability": 0.8911},
        {"horizon_days": 60, "churn_probability": 0.8027},
        {"horizon_days": 90, "churn_probability": 0.7312},
    ],
    "next_purchase": {"p10": None, "p50": None, "p90": None, "reason": "less_likely_than_not"},
    "predicted_value": {
        "days_90": {"p10": 0, "p50": 0, "p90": 11200},
        "days_365": {"p10": 0, "p50": 4100, "p90": 38400},
        "currency": "GBP",
    },
    "expected_loss": _LOSS,
    "population_percentile": 93.1,
    "trend": {"delta_7d": 0.118, "basis": "book", "since": "2026-02-22T00:00:00Z"},
    "segment": _SEGMENT,
    "lifecycle_stage": _STAGE,
    "rfm": {"recency": 2, "frequency": 4, "money": 4, "name": "at risk"},
    "reasons": [
        {
            "code": "late_delivery",
            "role": "cause",
            "text": "2 late deliveries in the last 30 days; other customers usually 0",
            "direction": "raises",
            "value": 2.0,
            "usual": 0.0,
            "usual_of": "others",
            "importance": 0.21,
            "controllable": True,
            "actions": ["apology_call", "free_shipping"],
            "if_resolved": {
                "churn_probability": 0.5208,
                "note": "With no late delivery, the model would say 52% instead of 73%. This is an association in past "
                "data, not the effect of an action.",
            },
        },
        {
            "code": "overdue",
            "role": "symptom",
            "text": "has not bought for 47 days; usually every 21",
            "direction": "raises",
            "value": 47.0,
            "usual": 21.0,
            "usual_of": "own",
            "importance": 0.38,
            "controllable": True,
            "actions": ["recommendation_email"],
            "if_resolved": {
                "churn_probability": 0.4417,
                "note": "With an order in the customer's usual rhythm, the model would say 44% instead of 73%. This is "
                "an association in past data, not the effect of an action.",
            },
        },
    ],
    "recommended_actions": [
        {"action": "apology_call", "why": "2 late deliveries in the last 30 days; other customers usually 0"},
        {"action": "recommendation_email", "why": "has not bought for 47 days; usually every 21"},
    ],
    "model": _MODEL,
    "as_of": "2026-03-01T09:30:00Z",
    "features_as_of": "2026-03-01T09:30:00Z",
    "data_quality": {
        "missing_share": 0.06,
        "gate": "passed",
        "degraded": False,
        "degraded_reason": None,
        "events_count": 112,
        "last_event_at": "2026-02-27T18:02:11Z",
    },
    "decision_id": "d-4b1c0e5a9f2d4c7788e0a1b2c3d4e5f6",
    "experiment": {"key": "none", "arm": "champion"},
    "holdout": False,
}

PROBLEM: dict[str, Any] = {
    "type": "urn:holdfast:problem:invalid",
    "title": "The request was understood and cannot be followed",
    "status": 422,
    "detail": "the request does not fit; every fault is listed in errors",
    "instance": "urn:holdfast:request:0f9d1c4e",
    "code": "invalid",
    "errors": [{"pointer": "/as_of", "code": "naive_time", "detail": "a time has no offset; write one"}],
    "request_id": "0f9d1c4e",
}

_BESIDE = {"horizons", "next_purchase", "predicted_value", "expected_loss", "population_percentile", "trend",
           "segment", "lifecycle_stage", "rfm", "reasons", "recommended_actions"}  # fmt: skip
"""What `include` chooses; a batch leaves it out by default."""

SOMETIMES = frozenset(
    _BESIDE
    | {"if_resolved", "events_count", "last_event_at", "churn", "problem", "errors", "instance", "request_id"}
    | {"challenger", "step", "step_started_at", "paused", "approved"}
)
"""Members that an answer may lack; all others are always there."""

BATCH: dict[str, Any] = {
    "scored": 1,
    "failed": 1,
    "results": [
        {"index": 0, "churn": {name: CHURN[name] for name in CHURN if name not in _BESIDE}},
        {
            "index": 1,
            "problem": {
                "type": "urn:holdfast:problem:unknown_customer",
                "title": "There is no such thing",
                "status": 404,
                "detail": "nothing is known of this customer at that instant",
                "code": "unknown_customer",
            },
        },
    ],
}

WORK_LIST: dict[str, Any] = {
    "as_of": "2026-03-01T00:00:00Z",
    "release": "r-5f0c2a9d11be",
    "horizon_days": 90,
    "total": 412,
    "customers": [
        {
            "customer_id": "17850",
            "churn_score": 91,
            "churn_probability": 0.7312,
            "percentile": 90.6,
            "population_percentile": 93.1,
            "band": "high",
            "expected_loss": _LOSS,
            "next_purchase": {"p50": "2026-04-22"},
            "trend": {"delta_7d": 0.118, "basis": "book", "since": "2026-02-22T00:00:00Z"},
            "segment": _SEGMENT,
            "lifecycle_stage": _STAGE,
            "reason_codes": ["overdue", "late_delivery"],
        }
    ],
    "next_cursor": "cGFnZS4xMi4zODI5MTAyMjcuOTA4MTIzNy4x",
    "changes_cursor": "c2luY2UuMTIuMzgyOTEwMjI3LjAuMA",
}

CHANGES: dict[str, Any] = {
    "changes": [
        {
            "customer_id": "17850",
            "change": "band_changed",
            "band_before": "medium",
            "band": "high",
            "churn_probability": 0.7312,
            "as_of": "2026-03-01T00:00:00Z",
            "release": "r-5f0c2a9d11be",
        }
    ],
    "cursor": "c2luY2UuMTIuMzgyOTEwMjI3LjAuMA",
    "more": False,
}

WARNINGS: dict[str, Any] = {
    "warnings": [
        {
            "warning_id": "w-318",
            "customer_id": "17850",
            "rise_log_odds": 0.92,
            "churn_probability": 0.41,
            "churn_probability_before": 0.22,
            "band": "medium",
            "expected_loss": _LOSS,
            "as_of": "2026-03-01T00:00:00Z",
            "release": "r-5f0c2a9d11be",
        }
    ],
    "cursor": "d2FybmVkLjMxOA",
    "more": False,
}

RECOMMENDED: dict[str, Any] = {
    "recommendation_id": "r-9a7d5c3b1e0f4a2288c6d4e2f0b1a3c5",
    "items": [
        {
            "item_id": "85123A",
            "score": 0.93,
            "position": 1,
            "source": "als",
            "reason": "bought by customers like you",
            "shown_as": "ranked",
        }
    ],
    "strategy": "personal",
    "fallback": False,
    "filtered_count": 4,
    "filtered": {
        "filter": 0,
        "out_of_stock": 3,
        "seed": 0,
        "owned": 0,
        "bought_recently": 1,
        "seen": 0,
        "low_relevance": 0,
    },
    "unknown_count": 0,
    "more": True,
    "objective": {"relevance": 1.0, "margin": 0.1, "discovery": 0.1, "retention": 0.0},
    "freshness": {
        "history": "2026-03-01T09:30:00Z",
        "models": "2026-02-28T00:00:00Z",
        "churn_probability": "2026-03-01T02:00:00Z",
    },
    "experiment": {"key": "none", "arm": "champion"},
    "model": {**_MODEL, "name": "recommender"},
    "degraded": False,
    "degraded_reason": None,
    "expires_at": "2026-03-01T09:35:00Z",
}

SIMILAR: dict[str, Any] = {
    **RECOMMENDED,
    "items": [
        {
            "item_id": "85123B",
            "score": 0.88,
            "position": 1,
            "source": "als",
            "reason": "similar to what you are looking at",
            "shown_as": "ranked",
        }
    ],
    "strategy": "similar",
}

EVENTS_BODY: dict[str, Any] = {
    "events": [
        {
            "event_id": "order-881-line-1",
            "customer_id": "17850",
            "occurred_at": "2026-03-01T09:29:58+01:00",
            "kind": "purchase",
            "item_id": "85123A",
            "order_id": "881",
            "quantity": 2,
            "amount_minor": 510,
            "currency": "GBP",
            "channel": "web",
            "recommendation_id": "r-9a7d5c3b1e0f4a2288c6d4e2f0b1a3c5",
        }
    ]
}

EVENTS_TAKEN: dict[str, Any] = {
    "accepted": 1,
    "deduplicated": 0,
    "rejected": [{"index": 1, "code": "naive_time", "message": "occurred_at: a time has no offset; write one"}],
}

RELEASES: dict[str, Any] = {
    "releases": [
        {
            "release": "r-5f0c2a9d11be",
            "arm": "champion",
            "share": 1.0,
            "created_at": "2026-02-28T04:00:00Z",
            "fingerprint": "9d3c51",
            "horizon_days": 90,
            "items": 3665,
            "provenance": {"churn": {"name": "churn", "version": "7"}},
        }
    ],
    "refused": [
        {
            "release": "r-0c77e1d2a943",
            "reason": "sha256",
            "detail": "churn/churn.json was altered: its sha256 differs; copy the release again",
        }
    ],
}
