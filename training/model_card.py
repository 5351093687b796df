"""Model cards: one page for people who do not program, with the pictures inside, as HTML and as Markdown."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["ModelCard", "Picture", "Section", "Table", "card_files"]


@dataclass(frozen=True)
class Picture:
    """A PNG, its file name beside the card, and what to see in it."""

    file: str
    caption: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of text; `marked` are the places of the rows that a reader should look at."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """One question that a reader asks, answered in words, tables and pictures."""

    title: str
    words: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class ModelCard:
    """What a reader should know of a model, in the order of the page.

    verdicts: how it did, in sentences. limits: what it must not be used for, or does not know.
    """

    title: str
    purpose: str
    verdicts: tuple[str, ...]
    sections: tuple[Section, ...]
    limits: tuple[str, ...]

    @property
    def pictures(self) -> Iterator[Picture]:
        """Every picture, in the order of the page."""
        return (picture for section in self.sections for picture in section.pictures)


_GOOD, _KEEP = "How good it is", "What to keep in mind"
_STYLE = """
:root { color-scheme: light }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem; color: #1f2328; background: #fff }
h1 { font-size: 1.9rem; margin-bottom: .3rem } h2 { font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid #d8dee4 } h3 { font-size: 1.02rem; margin: 1.5rem 0 .3rem }
nav { margin: 1.2rem 0; color: #57606a } nav a { color: #0b5cad; text-decoration: none; margin-right: 1.1rem;
  white-space: nowrap } nav a:hover { text-decoration: underline }
.verdicts { background: #f2f7fc; border-left: 4px solid #0b5cad; padding: .6rem 1rem .6rem 2rem; margin: 1rem 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; margin: .4rem 0 1rem; font-size: .9rem }
th, td { border-bottom: 1px solid #d8dee4; padding: .3rem .65rem; text-align: right; vertical-align: top }
th { background: #f6f8fa; font-weight: 600; vertical-align: bottom } td { font-variant-numeric: tabular-nums;
  white-space: nowrap }
th:first-child, td:first-child { text-align: left } td.text, th.text { text-align: left }
td.text { white-space: normal }
tr.marked td { background: #fff4e0 } figure { margin: 1.2rem 0 } img { max-width: 100%; height: auto }
figcaption { color: #57606a; font-size: .93rem; max-width: 46rem }
@media print { nav { display: none } h2 { break-after: avoid } figure, tr { break-inside: avoid } }
"""


def card_files(card: ModelCard) -> dict[str, bytes]:
    """`card.html` (complete in itself), `card.md` and the pictures it shows, by file name."""
    files = {"card.html": _as_html(card).encode(), "card.md": _as_markdown(card).encode()}
    return files | {picture.file: picture.png for picture in card.pictures}


def _as_html(card: ModelCard) -> str:
    links = "".join(f'<a href="#{_anchor(section.title)}">{_e(section.title)}</a>' for section in card.sections)
    parts = [f"<h1>{_e(card.title)}</h1>", f"<p>{_e(card.purpose)}</p>"]
    parts += [f"<h2>{_GOOD}</h2>", _html_list(card.verdicts, "verdicts"), f"<nav>{links}</nav>"]
    for section in card.sections:
        parts.append(f'<h2 id="{_anchor(section.title)}">{_e(section.title)}</h2>')
        parts += [f"<p>{_e(words)}</p>" for words in section.words]
        for table in section.tables:
            parts += [*([f"<h3>{_e(table.title)}</h3>"] if table.title else []), _html_table(table)]
        parts += [_html_picture(picture) for picture in section.pictures]
    parts += [f"<h2>{_KEEP}</h2>", _html_list(card.limits)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(card.title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _as_markdown(card: ModelCard) -> str:
    lines = [f"# {card.title}", "", card.purpose, "", f"## {_GOOD}", "", *(f"- {v}" for v in card.verdicts)]
    for section in card.sections:
        lines += ["", f"## {section.title}"]
        for words in section.words:
            lines += ["", words]
        for table in section.tables:
            lines += [*(["", f"### {table.title}"] if table.title else []), "", _markdown_row(table.columns)]
            lines += [_markdown_row(["---"] * len(table.columns)), *(_markdown_row(row) for row in table.rows)]
        for picture in section.pictures:
            lines += ["", f"![{picture.caption}]({picture.file})"]
    lines += ["", f"## {_KEEP}", "", *(f"- {limit}" for limit in card.limits)]
    return "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _html_list(sentences: Sequence[str], style: str = "") -> str:
    opening = f'<ul class="{style}">' if style else "<ul>"
    return opening + "".join(f"<li>{_e(sentence)}</li>" for sentence in sentences) + "</ul>"


def _html_picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    return (
        f'<figure><img alt="{_e(picture.caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_e(picture.caption)}</figcaption></figure>"
    )


def _html_table(table: Table) -> str:
    style = ['class="text"' if _is_words(table, column) else "" for column in range(len(table.columns))]

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag} {style[i]}>".replace(" >", ">") + f"{_e(cell)}</{tag}>" for i, cell in enumerate(row))

    rows = "".join(
        f'<tr class="marked">{cells("td", row)}</tr>' if place in table.marked else f"<tr>{cells('td', row)}</tr>"
        for place, row in enumerate(table.rows)
    )
    head = f"<thead><tr>{cells('th', table.columns)}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'


def _is_words(table: Table, column: int) -> bool:
    """Whether a column holds words rather than figures: then it is set to the left."""
    cells = [row[column] for row in table.rows if row[column]]
    return not any(cell[0].isdigit() or cell[0] in "+-−–.<" for cell in cells)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _e(text: str) -> str:
    return html.escape(text, quote=True)
