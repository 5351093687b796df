"""Reasons over HTTP: in the language that is asked for, with or without what would be if they were resolved."""

from typing import Any

import httpx
import pytest

from tests.serving.conftest import Running

PATH = "/v1/customers/c39/churn"


@pytest.mark.parametrize(
    ("header", "language", "text"),
    [
        ({}, "en", "has not bought for 40 days; usually every 40"),
        ({"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}, "zh", "已有 40 天未购买；通常每 40 天一次"),
        ({"Accept-Language": "zh-Hans"}, "zh", "已有 40 天未购买；通常每 40 天一次"),
        ({"Accept-Language": "fr, en;q=0.5, zh;q=0.4"}, "en", "has not bought for 40 days; usually every 40"),
    ],
)
def test_texts_are_in_the_language_that_is_asked_for(
    running: Running, header: dict[str, str], language: str, text: str
) -> None:
    answer = running.call("GET", PATH, headers=header)
    (overdue,) = [reason for reason in answer.json()["reasons"] if reason["code"] == "overdue"]
    assert answer.headers["content-language"] == language
    assert answer.headers["vary"] == "Accept-Language"
    assert overdue["text"] == text
    assert (overdue["value"], overdue["usual"], overdue["usual_of"]) == (40.0, 40.0, "own")
    assert (overdue["role"], overdue["actions"]) == ("symptom", ["recommendation_email"])
    assert answer.json()["recommended_actions"][0] == {"action": "recommendation_email", "why": text}
    assert "if_resolved" not in overdue


def test_a_language_header_of_several_lines_is_read_whole(running: Running) -> None:
    headers = [("Accept-Language", "en;q=0.1"), ("Accept-Language", "zh")]
    assert running.call("GET", PATH, headers=headers).headers["content-language"] == "zh"


def test_what_if_is_given_where_it_is_asked_for_and_said_to_be_no_effect(running: Running) -> None:
    body = running.call("GET", f"{PATH}?include=what_if").json()
    assert "recommended_actions" not in body
    for reason in body["reasons"]:
        supposed = reason["if_resolved"]
        assert (supposed is not None) == (reason["controllable"] and reason["direction"] == "raises")
        if supposed is not None:
            assert 0 <= supposed["churn_probability"] <= 1
            assert "not the effect of an action" in supposed["note"]
    assert any(reason["if_resolved"] for reason in body["reasons"])


def test_a_batch_says_the_same_as_each_alone_in_the_language_that_is_asked_for(running: Running) -> None:
    include = ["reasons", "actions", "what_if"]
    headers = {"Accept-Language": "zh"}

    async def talk(client: httpx.AsyncClient) -> tuple[list[Any], list[Any], str]:
        sent = {"customer_ids": ["c39", "c5"], "include": include}
        many = await client.post("/v1/churn/score:batch", json=sent, headers=headers)
        path = f"churn?include={','.join(include)}"
        alone = [(await client.get(f"/v1/customers/{one}/{path}", headers=headers)).json() for one in ("c39", "c5")]
        return [row["churn"] for row in many.json()["results"]], alone, many.headers["content-language"]

    many, alone, language = running.run(talk)
    assert language == "zh"
    for name in ("reasons", "recommended_actions"):
        assert [answer.get(name) for answer in many] == [answer.get(name) for answer in alone]


def test_an_unknown_part_to_include_is_refused(running: Running) -> None:
    assert running.call("GET", f"{PATH}?include=what_iff").status_code == 422
