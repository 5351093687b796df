"""Which language a request asks for."""

import pytest

from serving.languages import chosen_language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("ZH-hans-CN", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en;q=0.8, zh-Hans;q=0.9", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de, zh;q=0.1", "zh"),
        ("de", "en"),
        ("*", "en"),
        ("en;q=0, *", "zh"),
        ("zh;q=0", "en"),
        ("zh;q=0.5, en;q=0.5", "zh"),
        ("zh ; q=1.000 , en", "zh"),
        ("zh;q=1.001, en;q=0.1", "en"),
        ("zh;q=high, en;q=0.1", "en"),
        ("zhx, en;q=0.2", "en"),
        (";q=1,,zh;q=0.3", "zh"),
    ],
)
def test_the_highest_weight_of_a_language_that_is_spoken_wins(header, language):
    assert chosen_language(header) == language
