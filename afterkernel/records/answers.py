"""Which test images a classifier answers wrongly, packed into a short text: 2,000 images take 336 characters."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def pack(wrong: Any) -> str:
    """Whether each of n images is answered wrongly, in the order of the test set, as base64 of one bit per image."""
    import numpy as np

    return base64.b64encode(np.packbits(np.asarray(wrong, dtype=bool)).tobytes()).decode()


def unpack(text: str, n: int) -> NDArray[np.bool_]:
    """The n answers that `pack` made a text of. ValueError for any other text."""
    import numpy as np

    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"it is not base64: {error}") from error
    if len(data) != -(-n // 8):
        raise ValueError(f"it holds {8 * len(data)} answers, which can't be those of {n} images")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=n).astype(bool)
