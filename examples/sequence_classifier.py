"""A Hugging Face sequence classifier

How many labelled examples does the kernel of a transformer need, before and after it was trained? The task is one of
order: does token 1 come before token 2 in a sentence of random tokens? Models of Hugging Face need no wrapper: the
samples are a dict of their arguments, and `forward` picks the difference of the two logits. The network is a small
BERT from a configuration with random weights, so nothing is downloaded; your own model is used in the same way.

The picture shows the test error of a hard-margin SVM on the neural tangent kernel at initialisation and on the after
kernel, that of the trained network, by the number of examples that the SVM gets. None of these trained the network.
"""

import altair as alt
import pandas as pd
import torch
import transformers
from common import AFTER, BEFORE, main, places, titled
from torch import Tensor

import afterkernel as ak

LENGTH, VOCABULARY = 10, 20
NAMES = {"NTK at initialisation": BEFORE, "after kernel": AFTER}


def sentences(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random tokens with one token 1 and one token 2 among them, and whether 1 comes first."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY, (n, LENGTH), generator=generator)
    places = torch.rand(n, LENGTH, generator=generator).argsort(1)[:, :2]
    tokens.scatter_(1, places, torch.tensor([1, 2]).expand(n, 2))
    return tokens, (places[:, 0] < places[:, 1]).long()


def kernel(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    """The kernel of the difference of the two logits."""
    return ak.ntk(
        model, {"input_ids": tokens}, forward=lambda net, batch: net(**batch).logits @ torch.tensor([-1.0, 1])
    )


def compute(small: bool = False) -> pd.DataFrame:
    """Test errors in percent by kernel and number of examples."""
    sizes, n_test, steps = ([10, 20], 40, 5) if small else ([10, 20, 40, 80, 160], 200, 400)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, **shape)
    )
    tokens, y = sentences(5 * sizes[-1] + n_test, seed=1)
    kernels = [kernel(model, tokens)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch, labels = sentences(32, seed=2 + step)
        model(input_ids=batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    kernels.append(kernel(model, tokens))
    rows = []
    for name, K in zip(NAMES, kernels, strict=True):
        for n in sizes:
            for start in range(0, 5 * n, n):  # five sets of examples that have none in common
                chosen = slice(start, start + n)
                svm = ak.HardMarginSVM().fit(K[chosen, chosen], y[chosen])
                wrong = svm.predict(K[-n_test:, chosen]) != y[-n_test:]
                rows.append({"kernel": name, "n": n, "error": 100 * float(wrong.float().mean())})
    return pd.DataFrame(rows)


def picture(errors: pd.DataFrame) -> alt.LayerChart:
    """Mean test errors by number of examples, with those of each set."""
    n = errors["n"].max()
    first, after = (errors[(errors["n"] == n) & (errors["kernel"] == name)]["error"].mean() for name in NAMES)
    colour = alt.Color("kernel", legend=None).scale(domain=list(NAMES), range=list(NAMES.values()))
    base = alt.Chart(errors, width=440, height=280).encode(
        alt.X("n", title="labelled examples of the SVM (log)", **places(errors["n"])), color=colour
    )
    mean = base.encode(alt.Y("mean(error)", title="test error (%)"))
    ends = mean.transform_filter(f"datum.n == {n}").mark_text(align="left", dx=8).encode(text="kernel")
    return titled(
        base.mark_point(size=18, opacity=0.6).encode(y="error") + mean.mark_line(point=True) + ends,
        f"With {n} examples the NTK errs on {first:.2g} %, the after kernel on {after:.2g} %",
        "Which of two tokens comes first? A small BERT with random weights; points are five sets of examples",
    )


if __name__ == "__main__":
    main(compute, picture)
