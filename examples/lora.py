"""LoRA adapters

Does training adapters change a network as training its matrices would? With LoRA each matrix W becomes W + B A with a
narrow B and A, and B starts at zero. Its kernel is then that of the matrices with the inputs projected by the random
A, so it should approach the full kernel, up to a factor, as the rank grows. Here both are computed, with a small BERT
of random weights: `parameters=` chooses the matrices, and peft's adapters are just the parameters that are left to
train.

The picture shows the kernel distance (1 - cosine of the two matrices) between the kernel of the adapters and that of
the matrices that they adapt, and that of all parameters, by rank. The line is a fall as 1 / rank, for comparison.
"""

import altair as alt
import numpy as np
import pandas as pd
import peft
import torch
import transformers
from common import AFTER, BEFORE, decades, main, places, titled
from torch import Tensor

import afterkernel as ak

NAMES = {"the adapted matrices": AFTER, "all parameters": BEFORE}
ADAPTED = ["query", "value"]


def bert() -> transformers.PreTrainedModel:
    """Always the same network."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=50, **shape)).eval()


def kernel(model: torch.nn.Module, tokens: Tensor, parameters: list[str] | None = None) -> Tensor:
    """The kernel of the second logit."""
    return ak.ntk(model, {"input_ids": tokens}, output=1, parameters=parameters, dtype=torch.float64)


def compute(small: bool = False) -> pd.DataFrame:
    """Distances by rank, seed of the adapters, and the kernel compared with."""
    ranks, seeds, n = ([1, 8], 2, 10) if small else ([1, 2, 4, 8, 16, 32, 64], 5, 60)
    tokens = torch.randint(0, 50, (n, 12), generator=torch.Generator().manual_seed(0))
    full = {
        "the adapted matrices": kernel(bert(), tokens, [f"*.{name}.weight" for name in ADAPTED]),
        "all parameters": kernel(bert(), tokens),
    }
    rows = []
    for rank in ranks:
        for seed in range(seeds):
            model = bert()
            torch.manual_seed(seed)
            config = peft.LoraConfig(r=rank, target_modules=ADAPTED, lora_dropout=0.0)
            K = kernel(peft.get_peft_model(model, config), tokens)
            for name, other in full.items():
                rows.append({"rank": rank, "seed": seed, "other": name, "distance": ak.kernel_distance(K, other)})
    return pd.DataFrame(rows)


def slope(distances: pd.DataFrame) -> float:
    """Of log distance to the adapted matrices' kernel against log rank."""
    means = distances[distances["other"] == "the adapted matrices"].groupby("rank")["distance"].mean()
    return float(np.polyfit(np.log(means.index), np.log(means), 1)[0])


def picture(distances: pd.DataFrame) -> alt.LayerChart:
    """Distances by rank, on logarithmic axes."""
    ranks = sorted(set(distances["rank"]))
    first = distances[(distances["rank"] == ranks[0]) & (distances["other"] == "the adapted matrices")][
        "distance"
    ].mean()
    line = pd.DataFrame({"rank": ranks, "distance": [first * ranks[0] / rank for rank in ranks]})
    x = alt.X("rank", title="rank of the adapters (log)", **places(ranks))
    colour = alt.Color("other", legend=None).scale(domain=list(NAMES), range=list(NAMES.values()))
    base = alt.Chart(distances, width=440, height=300).encode(x, color=colour)
    title = "kernel distance of the adapters (log)"
    mean = base.encode(alt.Y("mean(distance)", title=title, **decades(distances["distance"])))
    ends = mean.transform_filter(f"datum.rank == {ranks[-1]}").mark_text(align="left", dx=8)
    dashed = alt.Chart(line).mark_line(strokeDash=[4, 4], color="#9ca3af").encode(x, y="distance")
    return titled(
        mean.mark_line() + dashed + base.mark_point(size=18).encode(y="distance") + ends.encode(text="other"),
        f"The distance to the kernel of the adapted matrices changes as rank ^ {slope(distances):.2f}",
        f"Small BERT with LoRA on {' and '.join(ADAPTED)}; points are seeds of the adapters; dashed: 1 / rank",
    )


if __name__ == "__main__":
    main(compute, picture)
