"""Plugins and folders of choices that a test adds are unknown to the next one."""

import sys

import pytest
from hydra.core.config_store import ConfigStore

from afterkernel import plugins
from afterkernel.config import compose, places, schema


@pytest.fixture
def forgotten(monkeypatch):
    """Undoes what a test loads and stores."""
    compose([])  # stores the schema, and what Hydra has itself
    before = set(sys.modules)
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", _copied(store.repo))
    monkeypatch.setattr(places, "_SWEEP_FOLDERS", list(places._SWEEP_FOLDERS))
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
    _clear_caches()
    yield
    _clear_caches()
    for name in set(sys.modules) - before:
        if name.partition(".")[0] not in ("afterkernel", "torch"):  # torch registers its operators only once
            del sys.modules[name]


def _copied(node):
    return {name: _copied(each) for name, each in node.items()} if isinstance(node, dict) else node


def _clear_caches():
    """These are keyed by the names of plugins, and tests load several under one name."""
    schema._register.cache_clear()
    schema._every_option.cache_clear()
    plugins._load_installed.cache_clear()
