import gc

import pytest

from afterkernel.plugins import without_collections


@pytest.mark.parametrize("enabled", [True, False])
def test_collections_go_on_as_before(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with without_collections():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
