"""docs/runbook.md has a section for every alert, with three things to do that can be done."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bridge.metrics import Metrics
from tests.docs.pages import ROOT, page, section, spans

RULES = ROOT / "deploy" / "prometheus" / "bridge.rules.yml"
PAGE = page("runbook.md")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_has_its_section(rule: dict[str, Any]) -> None:
    """It begins with the severity, has three steps, and each step names where to look: a command, a key, a page."""
    text = section(PAGE, f"### {rule['alert']}")
    assert text.strip().startswith(f"{rule['labels']['severity']}. ")
    steps = re.split(r"^\d\. ", text, flags=re.MULTILINE)
    assert len(steps) == 4
    assert sum("`" in step or "](" in step for step in steps[1:]) >= 2
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_there_is_no_section_besides() -> None:
    """Sections are in the order of the rules, and none is about an alert that there is not."""
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == [rule["alert"] for rule in rules()]


def test_every_metric_exists() -> None:
    """What the page tells to look at is measured."""
    metrics = {family.name for family in Metrics()._registry.collect()}
    named = {span.removesuffix("_total") for span in spans(PAGE) if re.fullmatch(r"bridge_\w+", span)}
    assert named - metrics == set()
