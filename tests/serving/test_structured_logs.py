"""One object a line, the route instead of the address, and nothing of what was sent, whatever goes wrong."""

import asyncio
import io
import json
import logging

import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from serving.metrics import Metrics
from serving.problems import Edge
from serving.request_context import CURRENT, RequestContext
from serving.structured_logs import AccessLog, configure_logs

PLANTED = ("ann@example.org", "+49 170 1234567", "customer-4711", "hk_secret.0123456789")
LOGGERS = ("", "holdfast", "holdfast.access", "bentoml", "uvicorn", "uvicorn.error", "circus")


@pytest.fixture(autouse=True)
def own_logging(monkeypatch):
    """Leave logging as it was found."""
    monkeypatch.setattr("serving.structured_logs._access", None)
    found = [(logging.getLogger(name), logging.getLogger(name).handlers[:]) for name in LOGGERS]
    levels = [(one, one.level, one.propagate) for one, _ in found]
    yield
    for logger, handlers in found:
        logger.handlers[:] = handlers
    for logger, level, propagate in levels:
        logger.level, logger.propagate = level, propagate


def text(stream):
    """All that was written, with what waited for company."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    return stream.getvalue()


def lines(stream):
    return [json.loads(line) for line in text(stream).splitlines()]


def ask(endpoint, path, headers=(), metrics=None):
    """One request to an application of one route; what it answered."""
    metrics = metrics or Metrics()
    edge = Middleware(Edge, observe=(metrics.observe, AccessLog()), new_id=lambda: "0" * 32, timeout_s=5)
    app = Starlette(routes=[Route("/v1/customers/{customer_id:path}/churn", endpoint)], middleware=[edge])
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"key=1"}
    asyncio.run(app(scope | {"headers": list(headers), "root_path": "", "http_version": "1.1"}, receive, send))
    return sent


async def fails(request):
    logging.getLogger("holdfast.odd").warning("about to fail")
    raise KeyError(request.path_params["customer_id"])


def test_request_is_one_line_with_its_route_and_never_its_address():
    stream = io.StringIO()
    configure_logs("json", access=True, stream=stream)
    ask(fails, "/v1/customers/customer-4711/churn", [(b"x-request-id", b"f" * 32)])
    warned, unforeseen, access = lines(stream)
    assert access["message"] == "request"
    assert access["route"] == "/v1/customers/{customer_id:path}/churn"
    assert (access["method"], access["status"], access["request_id"]) == ("GET", 500, "f" * 32)
    assert access["duration_ms"] > 0
    assert warned["request_id"] == unforeseen["request_id"] == "f" * 32
    assert unforeseen["exception"]["kinds"] == ["KeyError"]
    assert unforeseen["exception"]["at"][-1].endswith(" fails")


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("planted", PLANTED)
def test_nothing_that_a_caller_sent_is_logged(planted, form):
    stream = io.StringIO()
    configure_logs(form, access=True, stream=stream)
    headers = [(b"x-request-id", planted.encode()), (b"authorization", planted.encode())]
    ask(fails, f"/v1/customers/{planted}/churn", headers)
    ask(fails, f"/nowhere/{planted}", headers)
    assert text(stream).count("request") >= 2
    assert planted not in stream.getvalue()


def test_of_other_libraries_the_first_line_alone_is_logged():
    stream = io.StringIO()
    configure_logs("json", access=True, stream=stream)
    try:
        int(PLANTED[0])
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved\nfuture: %s", PLANTED[0])
    words_without_values = "%s and %s"
    logging.getLogger("uvicorn.error").warning(words_without_values, "one")
    told, odd = lines(stream)
    assert told["message"] == "Task exception was never retrieved"
    assert told["exception"]["kinds"] == ["ValueError"]
    assert odd["message"] == "%s and %s"
    assert PLANTED[0] not in stream.getvalue()


def test_causes_are_named_in_the_order_in_which_they_led_here():
    stream = io.StringIO()
    configure_logs("json", access=True, stream=stream)
    try:
        try:
            int(PLANTED[0])
        except ValueError:
            {}[PLANTED[1]]
    except KeyError:
        logging.getLogger("holdfast").exception("it broke")
    assert lines(stream)[0]["exception"]["kinds"] == ["KeyError", "ValueError"]


def test_access_lines_can_be_switched_off_and_the_rest_stays():
    stream = io.StringIO()
    configure_logs("json", access=False, stream=stream)
    ask(fails, "/v1/customers/c1/churn")
    assert [line["logger"] for line in lines(stream)] == ["holdfast.odd", "holdfast.http"]


def test_without_a_word_a_terminal_gets_text_and_anything_else_json():
    file, terminal = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True
    for stream in (file, terminal):
        configure_logs(None, access=True, stream=stream)
        logging.getLogger("holdfast").warning("not in step")
    assert lines(file)[0]["message"] == "not in step"
    assert " WARNING holdfast not in step\n" in terminal.getvalue()


def test_line_of_a_prediction_names_release_and_arm():
    stream, metrics = io.StringIO(), Metrics()
    configure_logs("json", access=True, stream=stream)

    async def predicts(_request):
        metrics.predicted("churn", "r-1", "challenger")
        raise KeyError

    ask(predicts, "/v1/customers/c1/churn", metrics=metrics)
    assert (lines(stream)[-1]["release"], lines(stream)[-1]["arm"]) == ("r-1", "challenger")


def test_batch_that_several_releases_answered_says_so():
    context = RequestContext("0")
    token = CURRENT.set(context)
    try:
        for release, arm in (("r-1", "champion"), ("r-1", "champion"), ("r-2", "challenger")):
            Metrics().predicted("churn", release, arm)
    finally:
        CURRENT.reset(token)
    assert (context.release, context.arm) == ("several", "several")


def test_method_that_http_does_not_have_is_not_repeated():
    stream = io.StringIO()
    configure_logs("json", access=True, stream=stream)
    scope = {"method": PLANTED[0], "type": "http"}

    async def answered():
        AccessLog()(scope, RequestContext("0"), 405, 0.001)

    asyncio.run(answered())
    assert lines(stream)[0]["method"] == "other"
    assert orjson.loads(stream.getvalue())["route"] == "none"


def test_lines_of_requests_wait_for_company_or_a_moment_and_for_no_warning():
    stream = io.StringIO()
    configure_logs("json", access=True, stream=stream)
    scope, access = {"method": "GET", "type": "http"}, AccessLog()

    async def talk():
        written = []
        access(scope, RequestContext("first"), 200, 0.001)
        written.append(stream.getvalue().count("\n"))
        await asyncio.sleep(0.3)
        written.append(stream.getvalue().count("\n"))
        for _ in range(10):
            access(scope, RequestContext("more"), 200, 0.001)
        written.append(stream.getvalue().count("\n"))
        access(scope, RequestContext("last"), 200, 0.001)
        logging.getLogger("holdfast").warning("not in step")
        return [*written, stream.getvalue().count("\n")]

    assert asyncio.run(talk()) == [0, 1, 11, 13]
    assert [line["message"] for line in lines(stream)[-2:]] == ["request", "not in step"]


def test_a_stream_that_takes_nothing_fails_no_answer():
    class Full(io.StringIO):
        def write(self, _text):
            raise OSError(28, "No space left on device")

    configure_logs("json", access=True, stream=Full())
    assert ask(fails, "/v1/customers/c1/churn")[0]["status"] == 500
    logging.getLogger("holdfast").warning("nobody reads this")
