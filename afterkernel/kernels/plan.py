"""The plan of a Gram matrix: how many embeddings are held at once, and what that costs.

A block of rows is embedded and held; the rest of the samples are embedded in chunks of columns, multiplied with the
block, and dropped. With R row blocks a sample is embedded up to R times, so the block takes all the budget that the
chunk leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from afterkernel.errors import UserError

COLUMNS_PER_CHUNK = 512


@dataclass(frozen=True)
class Plan:
    """Sizes of blocks and the cost they lead to. Bytes are those of embeddings, not of the result."""

    n: int
    n_others: int
    size: int
    rows_per_block: int
    columns_per_chunk: int
    embedding_bytes: int
    result_bytes: int
    embedded: int
    multiplications: int

    def describe(self) -> str:
        """The plan in a few plain lines, with its reasons."""
        blocks = ceil(self.n / self.rows_per_block)
        gib = 1024**3
        return "\n".join(
            [
                f"samples            {self.n:,} and {self.n_others:,} against them; {self.size:,} numbers an embedding",
                f"row blocks         {blocks} of up to {self.rows_per_block:,} samples, the most that the budget holds",
                f"column chunks      {self.columns_per_chunk:,} samples at a time",
                f"embeddings held    {self.embedding_bytes / gib:.2f} GiB at most",
                f"result             {self.result_bytes / gib:.2f} GiB",
                f"samples embedded   {self.embedded:,}, {self.embedded / (self.n + self.n_others):.2f} times each",
                f"multiply-adds      {self.multiplications:.2e}",
            ]
        )


def plan(n: int, n_others: int, size: int, element_bytes: int, budget_bytes: int, *, symmetric: bool = True) -> Plan:
    """Plan the Gram matrix of n samples with themselves (if `symmetric`) and with `n_others` more.

    `size` is the embedding's dimension, `element_bytes` that of one number. Raises UserError where the budget does
    not hold the few embeddings that any tile needs.
    """
    row_bytes = size * element_bytes
    held = budget_bytes // row_bytes
    if held < 2:
        raise UserError(
            f"kernel.budget_bytes={budget_bytes} is too small: two embeddings of {size} numbers need "
            f"{2 * row_bytes} bytes."
        )
    columns = max(1, min(COLUMNS_PER_CHUNK, held // 4, max(n, n_others)))
    rows = max(1, min(n, held - columns))
    embedded = multiplied = 0
    for start in range(0, n, rows):
        block = min(rows, n - start)
        later = n - start - block if symmetric else 0
        embedded += block + later + n_others
        multiplied += block * (later + n_others)
        if symmetric:
            multiplied += sum((block - tile) * min(columns, block - tile) for tile in range(0, block, columns))
    return Plan(
        n=n,
        n_others=n_others,
        size=size,
        rows_per_block=rows,
        columns_per_chunk=columns,
        embedding_bytes=(rows + columns) * row_bytes,
        result_bytes=(n * n * symmetric + n * n_others) * element_bytes,
        embedded=embedded,
        multiplications=multiplied * size,
    )
