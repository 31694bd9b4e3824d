"""Plugins and folders of choices that a test adds are removed after it."""

import sys

import pytest
from hydra.core.config_store import ConfigStore

from afterkernel import plugins
from afterkernel.config import catalogue, places, schema
from afterkernel.config.composition import compose


@pytest.fixture
def forgotten(monkeypatch, tmp_path):
    """Undoes what a test loads and stores."""
    compose([])  # stores the schema, and what Hydra has itself
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", _copied(store.repo))
    monkeypatch.setattr(places, "_SWEEP_FOLDERS", list(places._SWEEP_FOLDERS))
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
    _clear_caches()
    yield
    _clear_caches()
    for name, module in list(sys.modules.items()):
        inside = getattr(module, "__dict__", {})
        if str(tmp_path) in f"{inside.get('__file__')} {inside.get('__path__')}":
            del sys.modules[name]


def _copied(node):
    return {name: _copied(each) for name, each in node.items()} if isinstance(node, dict) else node


def _clear_caches():
    """These are keyed by the names of plugins, and tests load several under one name."""
    schema._register.cache_clear()
    catalogue.forget()
    plugins._load_installed.cache_clear()
