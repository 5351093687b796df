"""docs/schema.md, written from features/schema.py so that the page cannot say something else than the code."""

from __future__ import annotations

from features.schema import CUSTOMERS, EVENTS, ITEMS, KINDS, MAX_ID_LENGTH, TableSchema

__all__ = ["schema_page"]


def schema_page() -> str:
    """The page as Markdown."""
    parts = [
        "# Schema",
        (
            "Written from `features/schema.py`; a test keeps the two equal. Times are UTC, microseconds, and carry an "
            "offset wherever they are text. Money is whole minor units (`_minor`) and a currency. "
            f"Ids are text of 1 to {MAX_ID_LENGTH} characters. Inside, a customer is a keyed pseudonym "
            "(`customer_key`); files that are imported say `customer_id`, and only the identities table joins the two."
        ),
        *(_table(schema) for schema in (EVENTS, ITEMS, CUSTOMERS)),
        _kinds(),
    ]
    return "\n\n".join(parts) + "\n"


def _table(schema: TableSchema) -> str:
    head = f"## {schema.name}\n\nKey: `{schema.key}`.\n\n| column | type | required | meaning |\n|---|---|---|---|"
    rows = [f"| `{c.name}` | {c.type} | {'yes' if c.required else ''} | {c.meaning} |" for c in schema.columns]
    return "\n".join([head, *rows])


def _kinds() -> str:
    lines = ["## Kinds of event", "", "| kind | meaning | needs | `value` | from | to |", "|---|---|---|---|---|---|"]
    for kind in KINDS.values():
        needs = ", ".join(f"`{name}`" for name in kind.required)
        low, high = kind.value_range or ("", "")
        lines.append(f"| `{kind.name}` | {kind.meaning} | {needs} | {kind.value_meaning or ''} | {low} | {high} |")
    return "\n".join(lines)
