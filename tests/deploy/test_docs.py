"""What the book shows of the chart is what the chart takes."""

import re
import subprocess

import pytest
import yaml
from conftest import REPOSITORY, render

PAGE = (REPOSITORY / "docs" / "kubernetes.md").read_text()
SHOWN = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if "{{#include" not in text]

# Names on that page that are no values.
FREE = {"lychgate.toml", "config.templates", "README.md", "kubernetes.io"}


@pytest.mark.parametrize("values", SHOWN, ids=lambda values: next(iter(values)))
def test_values_that_the_book_shows_are_taken(values):
    assert render(values).one("Deployment")


def test_the_book_shows_some():
    assert len(SHOWN) == 3


def test_values_that_the_book_names_exist():
    named = set(re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)[`=:]", PAGE))
    known = REPOSITORY / "deploy" / "helm" / "lychgate" / "values.yaml"
    values = yaml.safe_load(known.read_text())
    missing = []
    for path in named:
        place = values
        for name in path.split("."):
            place = place.get(name) if isinstance(place, dict) else None
        if place is None and path not in FREE:
            missing.append(path)
    assert missing == []


def test_the_command_that_makes_the_key_makes_a_key():
    command = [REPOSITORY / "target" / "debug" / "lychgate", "secret"]
    assert "lychgate secret |" in PAGE
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}\n", subprocess.run(command, capture_output=True, text=True, check=True).stdout)
