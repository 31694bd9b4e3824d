"""Which test images a classifier answers wrongly, packed into a text: an eighth of a byte per image, in base64."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pack(wrong: NDArray[np.bool_]) -> str:
    """The text of one truth value per image."""
    import numpy as np

    return base64.b64encode(np.packbits(np.asarray(wrong, dtype=bool)).tobytes()).decode("ascii")


def unpack(text: str, n: int) -> NDArray[np.bool_]:
    """The truth values of `n` images."""
    import numpy as np

    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n).astype(bool)
