"""Models of transformers, timm and peft as they are, without a wrapper class."""

import pytest
import torch
from kernels.kernel_oracle import relative_error

import afterkernel as ak

N, WIDTH = 6, 16
IDS = torch.randint(3, 40, (N, 5))
MASK = torch.ones(N, 5, dtype=torch.long)
MASK[::2, 3:] = 0
TEXT = {"input_ids": IDS, "attention_mask": MASK}


def by_autograd(model, forward, n=N):
    """The kernel in float64, one sample at a time in a batch of two copies."""
    model = model.double().eval()
    trained = [value for value in model.parameters() if value.requires_grad]
    rows = []
    for i in range(n):
        grads = torch.autograd.grad(forward(model, [i, i])[0], trained, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    return torch.stack(rows) @ torch.stack(rows).T


@pytest.fixture
def transformers():
    found = pytest.importorskip("transformers", reason="transformers is not installed (extra families)")
    torch.manual_seed(0)
    return found


def bert(transformers):
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        num_labels=3,
    )
    return transformers.BertForSequenceClassification(config)


def logit(model, index):
    return model(input_ids=IDS[index], attention_mask=MASK[index]).logits[:, 1]


def test_bert_with_a_dict_of_tokens_and_mask(transformers):
    model = bert(transformers)
    batch = transformers.BatchEncoding(TEXT)
    K = ak.ntk(model, batch, output=1, dtype=torch.float64)
    assert ak.kernels.conjugate_layer(model, TEXT) == "classifier"
    v = torch.rand(N, dtype=torch.float64)
    product = ak.ntk_operator(model, TEXT, output=1, dtype=torch.float64) @ v
    expected = by_autograd(model, logit)
    assert relative_error(K, expected) < 1e-12
    assert relative_error(product, expected @ v) < 1e-12


def test_one_logit_of_gpt2(transformers):
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=2
    )
    model = transformers.GPT2LMHeadModel(config)
    K = ak.ntk(model, IDS, forward=lambda model, ids: model(ids).logits[:, -1, 11], dtype=torch.float64)
    expected = by_autograd(model, lambda model, index: model(IDS[index]).logits[:, -1, 11])
    assert relative_error(K, expected) < 1e-12


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_of_peft(transformers):
    peft = pytest.importorskip("peft", reason="peft is not installed (extra families)")
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    model = peft.get_peft_model(bert(transformers), settings)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    K = ak.ntk(model, TEXT, output=1, dtype=torch.float64)
    adapters = ak.ntk(model, TEXT, output=1, parameters="*lora_*", dtype=torch.float64)
    head = ak.ntk(model, TEXT, output=1, parameters="*classifier*", dtype=torch.float64)
    expected = by_autograd(model, logit)
    assert relative_error(K, expected) < 1e-12
    assert relative_error(adapters + head, expected) < 1e-12


def test_a_vision_transformer_of_timm():
    timm = pytest.importorskip("timm", reason="timm is not installed (extra families)")
    torch.manual_seed(0)
    small = {"num_classes": 2, "img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, **small)
    images = torch.randn(N, 3, 16, 16)
    K = ak.ntk(model, images, output=1, dtype=torch.float64)
    expected = by_autograd(model, lambda model, index: model(images[index].double())[:, 1])
    assert relative_error(K, expected) < 1e-12
