"""timm: one small member of each family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from model_families.family import Families, Make

PREFIX = PACKAGE = "timm"

# Name, side of the images, and what makes it smaller.
_SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}
_MODELS: dict[str, tuple[int, dict[str, Any]]] = {
    "repvgg_a0": (32, {}),
    "fastvit_t8": (64, {}),
    "mobileone_s0": (32, {}),
    "repvit_m0_9": (32, {}),
    "mobilevit_xxs": (64, {}),
    "mobilevitv2_050": (64, {}),
    "coatnet_pico_rw_224": (64, {"img_size": 64}),
    "coat_tiny": (32, {"img_size": 32}),
    "levit_128s": (64, {"img_size": 64}),
    "pvt_v2_b0": (32, {}),
    "deit_tiny_patch16_224": (32, {"img_size": 32, **_SMALL}),
    "deit3_small_patch16_224": (32, {"img_size": 32, **_SMALL}),
    "vit_tiny_patch16_224": (32, {"img_size": 32, **_SMALL}),
    "vit_relpos_small_patch16_224": (32, {"img_size": 32, **_SMALL}),
    "beit_base_patch16_224": (32, {"img_size": 32, **_SMALL}),
    "eva02_tiny_patch14_224": (28, {"img_size": 28, **_SMALL}),
    "cait_xxs24_224": (32, {"img_size": 32, **_SMALL}),
    "xcit_nano_12_p16_224": (32, {"img_size": 32, **_SMALL}),
    "convit_tiny": (32, {"img_size": 32, "embed_dim": 32, "depth": 2, "local_up_to_layer": 1, "num_heads": 2}),
    "crossvit_tiny_240": (240, {}),
    "pit_ti_224": (224, {}),
    "tnt_s_legacy_patch16_224": (
        32,
        {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads_inner": 2, "num_heads_outer": 2},
    ),
    "twins_pcpvt_small": (
        32,
        {"img_size": 32, "embed_dims": (16, 16, 32, 32), "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)},
    ),
    "swin_tiny_patch4_window7_224": (
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2)},
    ),
    "swinv2_tiny_window8_256": (
        32,
        {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2)},
    ),
    "convnextv2_atto": (32, {"depths": (1, 1, 2, 1)}),
    "inception_next_tiny": (32, {"depths": (1, 1, 1, 1), "dims": (16, 32, 48, 64)}),
    "ghostnet_050": (32, {}),
    "ghostnetv2_100": (64, {}),
    "edgenext_xx_small": (64, {}),
    "efficientformer_l1": (224, {"depths": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32)}),
    "efficientformerv2_s0": (224, {"depths": (1, 1, 1, 1)}),
    "efficientvit_b0": (32, {}),
    "efficientvit_m0": (224, {}),
    "nf_regnet_b0": (32, {}),
    "nf_resnet26": (32, {}),
    "eca_nfnet_l0": (32, {}),
    "regnetz_005": (32, {}),
    "resnetv2_50": (32, {"layers": (1, 1, 1, 1)}),
    "tresnet_m": (32, {"layers": (1, 1, 1, 1)}),
    "hrnet_w18_small": (32, {}),
    "seresnext26ts": (32, {}),
    "skresnet18": (32, {"layers": (1, 1, 1, 1)}),
    "resnest14d": (32, {}),
    "res2net50_14w_8s": (32, {"layers": (1, 1, 1, 1)}),
    "ecaresnet26t": (32, {"layers": (1, 1, 1, 1)}),
    "dla46_c": (32, {}),
    "selecsls42": (32, {}),
    "ese_vovnet19b_dw": (32, {}),
    "hardcorenas_a": (32, {}),
    "mixnet_s": (32, {}),
    "tinynet_e": (32, {}),
    "lcnet_035": (32, {}),
    "rexnet_100": (32, {}),
    "cspresnet50": (32, {}),
    "gernet_s": (32, {}),
    "botnet26t_256": (64, {"img_size": 64}),
    "halonet26t": (256, {}),
    "lambda_resnet26t": (64, {}),
    "visformer_tiny": (32, {"img_size": 32}),
    "nest_tiny": (32, {"img_size": 32}),
    "gcvit_xxtiny": (32, {"img_size": 32}),
    "starnet_s1": (32, {}),
    "tiny_vit_5m_224": (224, {}),
    "fasternet_t0": (32, {}),
    "mambaout_femto": (32, {"depths": (1, 1, 1, 1)}),
    "hiera_tiny_224": (224, {"embed_dim": 16, "stages": (1, 1, 1, 1), "num_heads": 1}),
    "sequencer2d_s": (
        32,
        {
            "img_size": 32,
            "layers": (1, 1, 1, 1),
            "embed_dims": (16, 32, 32, 32),
            "hidden_sizes": (4, 8, 8, 8),
        },
    ),
    "hgnetv2_b0": (32, {}),
    "swiftformer_xs": (64, {}),
    "shvit_s1": (64, {}),
    "xception41": (64, {}),
    "dpn48b": (32, {}),
    "densenet121": (32, {"block_config": (1, 1, 1, 1)}),
}


def _make(name: str, side: int, options: dict[str, Any]) -> Make:
    def make(n: int) -> Any:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=2, **options), torch.randn(n, 3, side, side)

    return make


def _built(build: Callable[[Any], nn.Module]) -> Make:
    """Of a class of timm.models: its registered names fix the sizes that would make it small."""

    def make(n: int) -> Any:
        import timm.models

        return build(timm.models), torch.randn(n, 3, 32, 32)

    return make


def families() -> Families:
    """By name."""
    four, widths = (1, 1, 1, 1), (16, 16, 32, 32)
    patches = {"num_classes": 2, "img_size": 32, "patch_size": 8, "num_blocks": 2, "embed_dim": 32}
    built: dict[str, Callable[[Any], nn.Module]] = {
        "mixer": lambda m: m.mlp_mixer.MlpMixer(**patches),
        "resmlp": lambda m: m.mlp_mixer.MlpMixer(
            **patches, mlp_ratio=4, block_layer=m.mlp_mixer.ResBlock, norm_layer=m.mlp_mixer.Affine
        ),
        "gmlp": lambda m: m.mlp_mixer.MlpMixer(
            **patches, mlp_ratio=4, block_layer=m.mlp_mixer.SpatialGatingBlock, mlp_layer=m.mlp_mixer.GatedMlp
        ),
        "poolformer": lambda m: m.metaformer.MetaFormer(num_classes=2, depths=four, dims=widths),
        "convformer": lambda m: m.metaformer.MetaFormer(
            num_classes=2, depths=four, dims=widths, token_mixers=m.metaformer.SepConv
        ),
        "caformer": lambda m: m.metaformer.MetaFormer(
            num_classes=2,
            depths=four,
            dims=(32, 32, 64, 64),
            norm_layers=[m.metaformer.LayerNorm2dNoBias] * 2 + [m.metaformer.LayerNormNoBias] * 2,
            token_mixers=[m.metaformer.SepConv] * 2 + [m.metaformer.Attention] * 2,
        ),
        "convmixer": lambda m: m.convmixer.ConvMixer(32, 2, num_classes=2),
        "focalnet": lambda m: m.focalnet.FocalNet(num_classes=2, depths=four, embed_dim=16),
        "davit": lambda m: m.davit.DaVit(
            num_classes=2, depths=(1, 1), embed_dims=(32, 64), num_heads=(2, 2), window_size=4
        ),
        "volo": lambda m: m.volo.VOLO(four, 32, num_classes=2, embed_dims=(32,) * 4, num_heads=(2,) * 4),
        "mvitv2": lambda m: m.mvitv2.MultiScaleVit(
            m.mvitv2.MultiScaleVitCfg(depths=four, embed_dim=16), (32, 32), num_classes=2
        ),
    }
    found = {name: _make(name, side, options) for name, (side, options) in _MODELS.items()}
    found |= {name: _built(build) for name, build in built.items()}
    return {name: (make, 1) for name, make in found.items()}
