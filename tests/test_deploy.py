"""The files under deploy/: whatever they ask for, the bridge measures; whatever they say, is said in full."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import Metric

from bridge.metrics import Metrics

DEPLOY = Path(__file__).parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "bridge.rules.yml"
BOARD = DEPLOY / "grafana" / "bridge.json"

# Of Prometheus itself: what every target has, and how it asks.
TARGET_LABELS = {"job", "instance"}
WORDS = {
    "absent", "and", "by", "histogram_quantile", "increase", "label_values", "max", "min", "offset", "on", "or", "rate",
    "sum", "time", "unless", "vector",
}  # fmt: skip
_STRING = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"([a-zA-Z_]\w*)\s*\{([^}]*)\}")
_BY = re.compile(r"\bby\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_NAME = re.compile(r"(?<![\w.])[a-zA-Z_]\w*")


def exposed() -> dict[str, set[str]]:
    """The name of every series, with its labels."""
    found: dict[str, set[str]] = {"up": set(TARGET_LABELS)}
    metrics = Metrics()
    for family in metrics._registry.collect():
        assert isinstance(family, Metric)
        labels = labels_of(metrics, family.name)
        for name in names_of(family):
            histogram = {"le"} if name.endswith("_bucket") else set()
            found[name] = labels | TARGET_LABELS | histogram
    return found


def names_of(family: Metric) -> list[str]:
    if family.type == "counter":
        return [f"{family.name}_total"]
    if family.type == "histogram":
        return [f"{family.name}_{each}" for each in ("bucket", "sum", "count")]
    return [family.name]


def labels_of(metrics: Metrics, name: str) -> set[str]:
    for each in vars(metrics).values():
        if getattr(each, "_name", None) == name:
            return set(each._labelnames)
    return set()


EXPOSED = exposed()


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions(value: object) -> Iterator[str]:
    """Every query of a dashboard, also those of its variables."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"expr", "definition"} and isinstance(inner, str):
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def board() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(BOARD.read_text(encoding="utf-8"))
    return read


def asked(expression: str) -> tuple[set[str], set[str]]:
    """The names and the labels in a query that nothing has; those of a selector must be its own metric's."""
    bare = _RANGE.sub(" ", _STRING.sub('""', expression))
    bad_labels: set[str] = set()
    for name, inside in _SELECTOR.findall(bare):
        bad_labels |= set(_NAME.findall(inside)) - EXPOSED.get(name, set())
    without = _SELECTOR.sub(r"\1", bare)
    by = {label for inside in _BY.findall(without) for label in _NAME.findall(inside)}
    names = set(_NAME.findall(_BY.sub(" ", without))) - WORDS
    known = {label for name in names for label in EXPOSED.get(name, set())}
    if expression.startswith("label_values("):
        names -= TARGET_LABELS
    return names - EXPOSED.keys(), bad_labels | (by - known)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Each alert has a severity, a summary, and a description long enough to act on; what it asks for is measured."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    annotations = rule["annotations"]
    assert 20 < len(annotations["summary"]) < 120
    assert len(annotations["description"]) > 80
    assert asked(rule["expr"]) == (set(), set())
    for label in re.findall(r"\$labels\.(\w+)", f"{annotations['summary']} {annotations['description']}"):
        assert label == "instance" or re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), label


def test_alerts_have_names_of_their_own() -> None:
    """No two alerts share a name, and where one is mentioned it exists."""
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 15
    text = RULES.read_text(encoding="utf-8")
    assert set(re.findall(r"\bBridge[A-Z]\w+", text)) == set(names)


@pytest.mark.parametrize("expression", sorted(set(expressions(board()))))
def test_every_query_of_the_dashboard_is_measured(expression: str) -> None:
    """Each metric and label exists, brackets are closed, and every selector goes by the chosen job."""
    assert asked(expression) == (set(), set())
    assert all(expression.count(first) == expression.count(last) for first, last in ("()", "{}", "[]"))
    assert '{job=~"$job"' in expression or expression.startswith("label_values(")


def test_the_dashboard_belongs_to_nobody() -> None:
    """It has no id, takes its data source from a variable, and its panels have places and names of their own."""
    read = board()
    assert read["id"] is None
    assert [each["type"] for each in read["templating"]["list"]] == ["datasource", "query"]
    uids = set(re.findall(r'"uid": "([^"]*)"', BOARD.read_text(encoding="utf-8")))
    assert uids == {"bridge-operations", "${datasource}"}
    panels = read["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    taken = {
        (column, line)
        for place in places
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    }
    assert len(taken) == sum(place["w"] * place["h"] for place in places)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_what_is_measured_is_shown() -> None:
    """Every metric of the bridge has its place in the dashboard."""
    shown = " ".join(expressions(board()))
    for family in Metrics()._registry.collect():
        if family.name.startswith("bridge_"):
            assert re.search(rf"\b{family.name}(_total|_bucket)?\b", shown), family.name


def test_the_guide_names_what_there_is() -> None:
    """Each metric that deploy/README.md names exists, and so does each file."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:bridge|process)_\w+)`", text))
    bases = EXPOSED.keys() | {name.removesuffix("_bucket") for name in EXPOSED}
    assert names - bases == set()
    for path in re.findall(r"`((?:prometheus|grafana)/[\w.]+)`", text):
        assert (DEPLOY / path).is_file()


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("max(bridge_made_up) > 1", ({"bridge_made_up"}, set())),
        ('rate(bridge_callbacks_total{code="200"}[5m])', (set(), {"code"})),
        ("sum by (lane) (rate(bridge_sends_total[5m] offset 1d))", (set(), {"lane"})),
        ("sum by (le) (rate(bridge_report_age_seconds_bucket[$__rate_interval]))", (set(), set())),
        ("rate(bridge_sends[5m])", ({"bridge_sends"}, set())),
    ],
)
def test_the_reader_of_queries(expression: str, wrong: tuple[set[str], set[str]]) -> None:
    """What these tests go by finds a name and a label that nothing has, and takes no part of a query for one."""
    assert asked(expression) == wrong
