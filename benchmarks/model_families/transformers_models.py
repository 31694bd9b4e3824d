"""transformers: models with random weights from their configurations; their features meet a linear head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from afterkernel.types import Tensor
from model_families.family import Families, Made, Make, first_tensor, parts_of

PREFIX = PACKAGE = "transformers"
WIDTH, TOKENS, VOCABULARY = 16, 6, 40

_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
_CAUSAL = _TEXT | {"num_key_value_heads": 1, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2}
_IMAGE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 8,
}
_SPEECH = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_stride": (4, 2),
    "conv_kernel": (8, 4),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
    "vocab_size": VOCABULARY,
}


def _tokens(n: int) -> Tensor:
    return torch.randint(3, VOCABULARY, (n, TOKENS))


def _pixels(n: int) -> Tensor:
    return torch.randn(n, 3, 16, 16)


def _sound(n: int) -> Tensor:
    return torch.randn(n, 400)


def _pooled(model: Any, batch: dict[str, Tensor]) -> Tensor:
    features = first_tensor(model.net(**batch))
    if features.ndim == 4:
        features = features.flatten(2).transpose(1, 2)
    return model.head(features.mean(1) if features.ndim == 3 else features)  # type: ignore[no-any-return]


def _with_head(
    name: str,
    inputs: Callable[[int], Tensor],
    key: str,
    width: int,
    options: dict[str, Any],
    experts: str = "eager",  # the default, grouped products, has no float64
) -> Make:
    """The base model of a configuration class, pooled over positions, with a head of one output."""

    def make(n: int) -> Made:
        import transformers

        config = getattr(transformers, f"{name}Config")(**options)
        config.use_cache = False
        config._experts_implementation = experts
        model_class = getattr(transformers, f"{name}Model")
        return parts_of(net=model_class(config), head=nn.Linear(width, 1)), {key: inputs(n)}, _pooled

    return make


def _classifier(name: str, options: dict[str, Any]) -> Make:
    """The sequence classification model of a configuration class."""

    def make(n: int) -> Made:
        import transformers

        config = getattr(transformers, f"{name}Config")(**options, num_labels=2)
        config.use_cache = False
        model = getattr(transformers, f"{name}ForSequenceClassification")(config)
        return model, {"input_ids": _tokens(n)}

    return make


def _encoder_decoder(name: str, options: dict[str, Any]) -> Make:
    """Encoder and decoder on the same tokens, with a head."""

    def call(model: Any, x: Tensor) -> Tensor:
        output = model.net(input_ids=x, decoder_input_ids=x)
        return model.head(output.last_hidden_state.mean(1))  # type: ignore[no-any-return]

    def make(n: int) -> Made:
        import transformers

        config = getattr(transformers, f"{name}Config")(**options)
        config.use_cache = False
        net = getattr(transformers, f"{name}Model")(config)
        return parts_of(net=net, head=nn.Linear(WIDTH, 1)), _tokens(n), call

    return make


_GPT2 = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 32, "n_inner": 24}
_SEQ2SEQ = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
_T5 = {"vocab_size": VOCABULARY, "d_model": WIDTH, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
_MOE = {"num_experts_per_tok": 2, "output_router_logits": False}

_TEXTS: dict[str, dict[str, Any]] = {
    "Bert": _TEXT,
    "Roberta": _TEXT,
    "Electra": _TEXT | {"embedding_size": 8},
    "Albert": _TEXT | {"embedding_size": 8},
    "MPNet": _TEXT,
    "RoFormer": _TEXT | {"embedding_size": WIDTH},
    "SqueezeBert": _TEXT | {"embedding_size": WIDTH, "q_groups": 2, "k_groups": 2, "v_groups": 2},
    "ConvBert": _TEXT | {"embedding_size": 8, "head_ratio": 1},
    "FNet": _TEXT,
    "Nystromformer": _TEXT | {"num_landmarks": 2, "segment_means_seq_len": TOKENS},
    "Deberta": _TEXT | {"pos_att_type": ["c2p", "p2c"], "relative_attention": True},
    "DebertaV2": _TEXT | {"pos_att_type": ["c2p", "p2c"], "relative_attention": True},
    "ModernBert": _TEXT | {"cls_token_id": 1, "sep_token_id": 2},
    "GPTNeoX": _TEXT,
    "Llama": _CAUSAL,
    "Mistral": _CAUSAL,
    "Mixtral": _CAUSAL | _MOE | {"num_local_experts": 4},
    "Qwen2": _CAUSAL,
    "Qwen2Moe": _CAUSAL | _MOE | {"num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
    "Qwen3": _CAUSAL,
    "Gemma": _CAUSAL,
    "Gemma2": _CAUSAL,
    "Phi": _TEXT,
    "Phi3": _TEXT | {"num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2},
    "StableLm": _CAUSAL,
    "Olmo": _CAUSAL,
    "Olmo2": _CAUSAL,
    "Cohere": _CAUSAL,
    "Starcoder2": _CAUSAL,
    "Granite": _CAUSAL,
    "DistilBert": {
        "vocab_size": VOCABULARY,
        "dim": WIDTH,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 32,
    },
    "XLNet": {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_layer": 2, "n_head": 2, "d_inner": 24},
    "GPT2": _GPT2,
    "GPTJ": _GPT2 | {"rotary_dim": 4},
    "CodeGen": _GPT2 | {"n_head": 4, "rotary_dim": 4},
    "GPTNeo": {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 24,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 32,
        "window_size": 4,
    },
    "OPT": {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "word_embed_proj_dim": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 24,
        "max_position_embeddings": 32,
    },
    "Bloom": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": 2, "n_head": 2},
    "Falcon": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2},
    "Mpt": {"vocab_size": VOCABULARY, "d_model": WIDTH, "n_layers": 2, "n_heads": 2, "max_seq_len": 32},
    "Mamba": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "state_size": 4},
    "Mamba2": {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "state_size": 4,
        "num_heads": 4,
        "head_dim": 8,
        "n_groups": 2,
        "chunk_size": 4,
    },
    "FalconMamba": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "state_size": 4},
    "Rwkv": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": 2, "context_length": 32},
    "RecurrentGemma": {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "lru_width": WIDTH,
        "attention_window_size": 8,
    },
}

_IMAGES: dict[str, tuple[dict[str, Any], int]] = {
    "ViT": (_IMAGE, WIDTH),
    "DeiT": (_IMAGE, WIDTH),
    "Beit": (_IMAGE, WIDTH),
    "Dinov2": (_IMAGE | {"mlp_ratio": 2}, WIDTH),
    "CLIPVision": (_IMAGE, WIDTH),
    "SiglipVision": (_IMAGE, WIDTH),
    "Swin": (
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        16,
    ),
    "ConvNext": ({"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, 16),
    "PoolFormer": (
        {
            "hidden_sizes": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
        },
        16,
    ),
    "ResNet": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}, 16),
    "Segformer": (
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [8, 16],
            "patch_sizes": [3, 3],
            "strides": [2, 2],
            "num_attention_heads": [1, 2],
            "mlp_ratios": [2, 2],
        },
        16,
    ),
}


def families() -> Families:
    """By name."""
    found: dict[str, Make] = {
        name.lower(): _with_head(name, _tokens, "input_ids", WIDTH, options) for name, options in _TEXTS.items()
    }
    found |= {
        f"{name.lower()}_image": _with_head(name, _pixels, "pixel_values", width, options)
        for name, (options, width) in _IMAGES.items()
    }
    found |= {
        f"{name.lower()}_batched": _with_head(name, _tokens, "input_ids", WIDTH, _TEXTS[name], "batched_mm")
        for name in ("Mixtral", "Qwen2Moe")
    }
    found |= {
        "t5_encoder": _with_encoder("T5Encoder", "T5", _T5),
        "umt5_encoder": _with_encoder("UMT5Encoder", "UMT5", _T5),
        "bart": _encoder_decoder("Bart", _SEQ2SEQ),
        "mbart": _encoder_decoder("MBart", _SEQ2SEQ),
        "pegasus": _encoder_decoder("Pegasus", _SEQ2SEQ),
        "t5": _encoder_decoder("T5", _T5 | {"num_decoder_layers": 1, "pad_token_id": 0, "decoder_start_token_id": 0}),
        "wav2vec2": _with_head("Wav2Vec2", _sound, "input_values", WIDTH, _SPEECH),
        "hubert": _with_head("Hubert", _sound, "input_values", WIDTH, _SPEECH),
        "wavlm": _with_head("WavLM", _sound, "input_values", WIDTH, _SPEECH),
    }
    result: Families = {name: (make, None) for name, make in found.items()}
    return result | {
        "bert_classifier": (_classifier("Bert", _TEXT), 1),
        "distilbert_classifier": (_classifier("DistilBert", _TEXTS["DistilBert"]), 1),
        "gpt2_classifier": (_classifier("GPT2", _GPT2 | {"pad_token_id": 0}), 1),
        "llama_classifier": (_classifier("Llama", _CAUSAL), 1),
    }


def _with_encoder(model_class: str, name: str, options: dict[str, Any]) -> Make:
    def make(n: int) -> Made:
        import transformers

        config = getattr(transformers, f"{name}Config")(**options)
        net = getattr(transformers, f"{model_class}Model")(config)
        return parts_of(net=net, head=nn.Linear(WIDTH, 1)), {"input_ids": _tokens(n)}, _pooled

    return make
