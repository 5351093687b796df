"""The threat model names the test that shows each line; a name that leads nowhere would be a promise without proof."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(?:(tests/[\w/]+\.py))?(?:::(test_\w+))?`")


def threat_model():
    whole = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    return whole.partition("\n## Threat model\n")[2].partition("\n## ")[0]


def named_tests():
    """Each file with each test; a test without a file is of the file named before it."""
    file = None
    for line in threat_model().splitlines():
        for path, test in NAMED.findall(line):
            file = path or file
            if test or path:
                yield file, test


def functions_in(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_threat_model_names_is_there():
    asked = list(named_tests())
    assert len(asked) > 40
    missing = [
        f"{path}::{test}" for path, test in asked if not (ROOT / path).is_file() or test not in functions_in(path)
    ]
    assert missing == []


def test_every_risk_has_a_line_with_a_test_or_says_that_it_is_open():
    lines = re.findall(r"^\| ((?:API|ML)\d+) .+\|(.+)\|$", threat_model(), re.MULTILINE)
    assert [risk for risk, _ in lines] == [f"API{n}" for n in range(1, 11)] + [f"ML{n:02d}" for n in range(1, 11)]
    assert [risk for risk, shown in lines if "::test_" not in shown and "*open*" not in shown] == []
