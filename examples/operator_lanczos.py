"""Eigenvectors without the matrix

What are the main directions of a kernel on more samples than fit into an n x n matrix? `ak.ntk_operator` multiplies
the tangent kernel with vectors, by one backward pass and one derivative along a direction, and never forms it.
SciPy's Lanczos method, `eigsh`, needs no more than such products.

The picture shows the digits by the second and third eigenvector of an after kernel, coloured by class: kernel
principal components without a kernel matrix. The finding compares the eigenvalues with those of the whole matrix,
which still fits here.
"""

import altair as alt
import numpy as np
import pandas as pd
import torch
from common import digits, main, mlp, titled, train
from scipy.sparse.linalg import LinearOperator, eigsh

import afterkernel as ak

SHOWN = [0, 1, 3, 6]


def compute(small: bool = False) -> dict[str, pd.DataFrame]:
    """The `eigenvalues` by both ways, with the number of products, and the `images` by eigenvector."""
    n, steps = (60, 5) if small else (700, 300)
    data = digits(SHOWN, n, 0)
    torch.manual_seed(0)
    model = mlp(64, 100, len(SHOWN))
    list(train(model, data.x, data.y, 0.05, [steps]))

    operator = ak.ntk_operator(model, data.x, output="trace", dtype=torch.float64).to_scipy()
    products = []

    def counted(v: np.ndarray) -> np.ndarray:
        products.append(1)
        return operator @ v

    values, vectors = eigsh(LinearOperator(operator.shape, counted, dtype=operator.dtype), 5, tol=1e-8, v0=np.ones(n))
    exact = torch.linalg.eigvalsh(ak.ntk(model, data.x, output="trace", dtype=torch.float64)).flip(0)[:5]
    eigenvalues = pd.DataFrame({"lanczos": values[::-1], "exact": exact.numpy(), "products": len(products)})
    digit = [str(SHOWN[i]) for i in data.y]
    images = pd.DataFrame({"second": vectors[:, -2], "third": vectors[:, -3], "digit": digit})
    return {"eigenvalues": eigenvalues, "images": images}


def picture(found: dict[str, pd.DataFrame]) -> alt.LayerChart:
    """The digits by their coordinates in two eigenvectors."""
    eigenvalues, images = found["eigenvalues"], found["images"]
    error = float((eigenvalues["lanczos"] / eigenvalues["exact"] - 1).abs().max())
    axis = alt.Axis(grid=False, format=".2f")
    base = alt.Chart(images, width=440, height=340)
    points = base.encode(
        alt.X("second", title="second eigenvector", axis=axis),
        alt.Y("third", title="third eigenvector", axis=axis),
        alt.Color("digit", legend=None).scale(scheme="dark2"),
    )
    centres = base.encode(x="mean(second)", y="mean(third)", text="digit").mark_text(fontSize=26, fontWeight="bold")
    return titled(
        points.mark_circle(size=22, opacity=0.5) + centres,
        f"{eigenvalues['products'].iloc[0]} products give five eigenvalues, within {error:.0e} of the matrix's",
        f"After kernel of an mlp, summed over {len(SHOWN)} outputs, on {len(images)} digits",
    )


if __name__ == "__main__":
    main(compute, picture)
