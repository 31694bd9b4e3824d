"""Small models of many families, with random weights: `FAMILIES` by name."""

from model_families import layers, peft_models, timm_models, torchvision_models, transformers_models
from model_families.family import Family

FAMILIES: dict[str, Family] = {
    f"{module.PREFIX}/{name}": Family(module.PACKAGE, make, output)
    for module in (layers, torchvision_models, timm_models, transformers_models, peft_models)
    for name, (make, output) in module.families().items()
}

__all__ = ["FAMILIES", "Family"]
