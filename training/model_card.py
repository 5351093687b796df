"""Model cards: one page for people who do not program, with the pictures inside, as HTML and as Markdown."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["ModelCard", "Picture", "Table", "card_files"]


@dataclass(frozen=True)
class Picture:
    """A PNG, its file name beside the card, and what to see in it."""

    file: str
    caption: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ModelCard:
    """What a reader should know of a model, in the order of the page.

    verdicts: how it did, in sentences. limits: what it must not be used for, or does not know.
    """

    title: str
    purpose: str
    verdicts: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    limits: tuple[str, ...]


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { border: 1px solid #ccc; padding: .3rem .6rem }
th { text-align: left; background: #f5f5f5 } td + td { font-variant-numeric: tabular-nums }
figure { margin: 1.5rem 0 } img { max-width: 100% } figcaption { color: #555 }
"""


def card_files(card: ModelCard) -> dict[str, bytes]:
    """`card.html` (complete in itself), `card.md` and the pictures it shows, by file name."""
    files = {"card.html": _as_html(card).encode(), "card.md": _as_markdown(card).encode()}
    return files | {picture.file: picture.png for picture in card.pictures}


def _as_html(card: ModelCard) -> str:
    parts = [f"<h1>{_e(card.title)}</h1>", f"<p>{_e(card.purpose)}</p>", "<h2>How good it is</h2>"]
    parts += [_html_list(card.verdicts)]
    for table in card.tables:
        parts += [f"<h2>{_e(table.title)}</h2>", _html_table(table)]
    if card.pictures:
        parts.append("<h2>Pictures</h2>")
    for picture in card.pictures:
        data = base64.b64encode(picture.png).decode("ascii")
        parts.append(
            f'<figure><img alt="{_e(picture.caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{_e(picture.caption)}</figcaption></figure>"
        )
    parts += ["<h2>What to keep in mind</h2>", _html_list(card.limits)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>{_e(card.title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _as_markdown(card: ModelCard) -> str:
    lines = [f"# {card.title}", "", card.purpose, "", "## How good it is", "", *(f"- {v}" for v in card.verdicts)]
    for table in card.tables:
        lines += [
            "",
            f"## {table.title}",
            "",
            _markdown_row(table.columns),
            _markdown_row(["---"] * len(table.columns)),
        ]
        lines += [_markdown_row(row) for row in table.rows]
    for picture in card.pictures:
        lines += ["", f"![{picture.caption}]({picture.file})"]
    lines += ["", "## What to keep in mind", "", *(f"- {limit}" for limit in card.limits)]
    return "\n".join(lines) + "\n"


def _html_list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_e(sentence)}</li>" for sentence in sentences) + "</ul>"


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{_e(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _e(text: str) -> str:
    return html.escape(text, quote=True)
