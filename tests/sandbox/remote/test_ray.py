"""`RaySandbox` where there is no Ray; on a cluster it is tested in `tests/cluster`."""

from __future__ import annotations

import importlib.util

import pytest

from langchain_ptc import RaySandbox
from tests.package.test_startup import load


def test_without_ray(monkeypatch):
    """Where the extra is missing, the sandbox says which, when it is made."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else find(name)
    )
    with pytest.raises(ImportError, match=r"pip install 'langchain-ptc\[ray\]'"):
        RaySandbox()


def test_its_name_needs_no_ray():
    """To import it loads nothing of Ray, nor of LangChain."""
    loaded = load("from langchain_ptc import RaySandbox")
    assert not {name.partition(".")[0] for name in loaded} & {"ray", "langchain_core", "langgraph"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"waiting_workers": 0}, "waiting_workers must be positive"),
        ({"max_workers": 0}, "max_workers must be positive"),
        ({"queue_seconds": 0}, "must be positive"),
        ({"require": "none"}, "require must be"),
        ({"imports": ["not a name"]}, "no module name"),
    ],
)
def test_options(monkeypatch, options, told):
    """What can be seen to be wrong without a cluster is told when the sandbox is made."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ValueError, match=told):
        RaySandbox(**options)
