import base64
import re

from training.model_card import ModelCard, Picture, Section, Table, card_files

PNG = b"\x89PNG\r\n\x1a\n made up"
CARD = ModelCard(
    title="Churn <model>",
    purpose="Says who may leave.",
    verdicts=("It beats the rule.",),
    sections=(
        Section(
            "Is it right?",
            ("Of customers told 30%, 30% should leave.",),
            (Table("Figures", ("name", "a|b"), (("auc", "0.75"), ("note", "x|y")), marked=frozenset({1})),),
            (Picture("roc.png", 'Left & "right"', PNG),),
        ),
    ),
    limits=("It is a guess for others.",),
)


def test_the_html_holds_its_pictures_and_loads_nothing_else() -> None:
    page = card_files(CARD)["card.html"].decode()
    (embedded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(embedded) == PNG
    assert "http" not in page
    assert "<script" not in page


def test_text_cannot_become_markup() -> None:
    page = card_files(CARD)["card.html"].decode()
    assert "<h1>Churn &lt;model&gt;</h1>" in page
    assert 'alt="Left &amp; &quot;right&quot;"' in page


def test_every_part_stands_in_both_forms() -> None:
    files = card_files(CARD)
    assert files["roc.png"] == PNG
    for name in ("card.html", "card.md"):
        text = files[name].decode()
        for part in ("Says who may leave.", "It beats the rule.", "Figures", "0.75", "It is a guess for others."):
            assert part in text
        for part in ("Is it right?", "Of customers told 30%, 30% should leave."):
            assert part in text


def test_a_row_to_look_at_is_marked_and_the_page_leads_to_each_section() -> None:
    page = card_files(CARD)["card.html"].decode()
    assert page.count('<tr class="marked">') == 1
    assert '<a href="#is-it-right">' in page
    assert '<h2 id="is-it-right">' in page


def test_a_bar_in_a_cell_does_not_split_a_markdown_row() -> None:
    rows = card_files(CARD)["card.md"].decode().splitlines()
    assert "| name | a\\|b |" in rows
    assert "| note | x\\|y |" in rows
    assert '![Left & "right"](roc.png)' in rows
