"""peft: adapters of small transformers, whose own weights are frozen."""

from __future__ import annotations

from typing import Any

from model_families import transformers_models as base
from model_families.family import Families, Made, Make

PREFIX = PACKAGE = "peft"


def _make(kind: str, of: str, options: dict[str, Any]) -> Make:
    """A sequence classifier with an adapter."""

    def make(n: int) -> Made:
        import peft
        import transformers

        settings = {"Bert": base._TEXT, "GPT2": base._GPT2 | {"pad_token_id": 0}, "Llama": base._CAUSAL}[of]
        config = getattr(transformers, f"{of}Config")(**settings, num_labels=2)
        config.use_cache = False
        net = getattr(transformers, f"{of}ForSequenceClassification")(config)
        adapter = getattr(peft, f"{kind}Config")(task_type="SEQ_CLS", **options)
        return peft.get_peft_model(net, adapter), {"input_ids": base._tokens(n)}

    return make


def families() -> Families:
    """By name."""
    llama = {"target_modules": ["q_proj", "v_proj"]}
    bert = {"target_modules": ["query", "value"]}
    found = {
        "lora_llama": _make("Lora", "Llama", {"r": 2, **llama}),
        "lora_bert": _make("Lora", "Bert", {"r": 2, **bert}),
        "lora_gpt2": _make("Lora", "GPT2", {"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True}),
        "rslora_llama": _make("Lora", "Llama", {"r": 2, "use_rslora": True, **llama}),
        "dora_llama": _make("Lora", "Llama", {"r": 2, "use_dora": True, **llama}),
        "ia3_bert": _make("IA3", "Bert", {"target_modules": ["key", "value"], "feedforward_modules": []}),
        "loha_bert": _make("LoHa", "Bert", {"r": 2, **bert}),
        "lokr_bert": _make("LoKr", "Bert", {"r": 2, **bert}),
        "vera_bert": _make("Vera", "Bert", {"r": 2, **bert}),
        "adalora_bert": _make("AdaLora", "Bert", {"init_r": 3, "target_r": 2, "total_step": 10, **bert}),
        "oft_bert": _make("OFT", "Bert", {"oft_block_size": 4, **bert}),
        "prompt_bert": _make("PromptTuning", "Bert", {"num_virtual_tokens": 3}),
        "p_tuning_bert": _make("PromptEncoder", "Bert", {"num_virtual_tokens": 3, "encoder_hidden_size": 8}),
    }
    return {name: (make, 1) for name, make in found.items()}
