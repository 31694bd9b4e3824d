"""torchvision: classification, video and segmentation, with few channels and blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import efficientnet, resnet, swin_transformer, video

from afterkernel.kernels.samples import Forward
from afterkernel.types import Tensor
from model_families.family import Families, Made, Make, parts_of

PREFIX = PACKAGE = "torchvision"
models = torchvision.models


def _images(side: int, make: Callable[[], nn.Module], forward: Forward | None = None) -> Make:
    def made(n: int) -> Made:
        x = torch.randn(n, 3, side, side)
        return (make(), x) if forward is None else (make(), x, forward)

    return made


def _clips(frames: int, side: int, make: Callable[[], nn.Module]) -> Make:
    return lambda n: (make(), torch.randn(n, 3, frames, side, side))


def _small_classifier(model: Any, inputs: int) -> nn.Module:
    model.classifier = nn.Sequential(nn.Dropout(), nn.Linear(inputs, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 2))
    return model  # type: ignore[no-any-return]


def _vgg(batch_norm: bool) -> nn.Module:
    features = models.vgg.make_layers([8, "M", 16, "M", 16, 16, "M"], batch_norm=batch_norm)
    return _small_classifier(models.VGG(features, num_classes=2), 16 * 49)


def _resnet(block: Any = resnet.BasicBlock, **options: Any) -> nn.Module:
    return models.ResNet(block, [1, 1, 1, 1], num_classes=2, **options)


def _efficientnet_v2() -> nn.Module:
    fused, plain = efficientnet.FusedMBConvConfig, efficientnet.MBConvConfig
    settings = [fused(1, 3, 1, 16, 16, 1), fused(4, 3, 2, 16, 24, 1), plain(4, 3, 2, 24, 32, 2)]
    return models.EfficientNet(settings, dropout=0.2, num_classes=2, last_channel=64)


def _convnext() -> nn.Module:
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(16, 32, 1), block(32, 48, 2), block(48, None, 1)], num_classes=2)


def _swin(**options: Any) -> nn.Module:
    return models.SwinTransformer(
        patch_size=[4, 4], embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=2, **options
    )


def _mvit() -> nn.Module:
    block = video.mvit.MSBlockConfig
    setting = [
        block(1, 16, 32, (3, 3, 3), (3, 3, 3), (1, 1, 1), (1, 2, 2)),
        block(2, 32, 32, (3, 3, 3), (3, 3, 3), (1, 2, 2), (1, 1, 1)),
    ]
    return video.MViT((32, 32), 4, setting, False, False, True, True, num_classes=2)


def _mean_of_pixels(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)["out"].mean((2, 3))  # type: ignore[no-any-return]


def _fcn() -> nn.Module:
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    backbone = IntermediateLayerGetter(_resnet(), return_layers={"layer4": "out"})
    return FCN(backbone, FCNHead(512, 2))  # type: ignore[no-any-return]


def _deeplab() -> nn.Module:
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

    backbone = IntermediateLayerGetter(_resnet(), return_layers={"layer2": "out"})
    return DeepLabV3(backbone, DeepLabHead(128, 2))  # type: ignore[no-any-return]


def _lraspp() -> nn.Module:
    return models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)  # type: ignore[no-any-return]


def _s3d() -> nn.Module:
    net = video.s3d(num_classes=2)
    net.avgpool = nn.AdaptiveAvgPool3d(1)
    return net  # type: ignore[no-any-return]


def _video(conv: Any, stem: Any) -> nn.Module:
    block = video.resnet.BasicBlock
    return video.resnet.VideoResNet(block, [conv] * 4, [1, 1, 1, 1], stem, num_classes=2)  # type: ignore[no-any-return]


def _pyramid(x_side: int) -> Make:
    def features(model: Any, x: Tensor) -> Tensor:
        maps = model.fpn(model.body(x))
        return sum(level.mean((2, 3)).sum(1) for level in maps.values())  # type: ignore[no-any-return]

    def make() -> nn.Module:
        from torchvision.models._utils import IntermediateLayerGetter
        from torchvision.ops import FeaturePyramidNetwork

        body = IntermediateLayerGetter(_resnet(), return_layers={"layer2": "a", "layer3": "b"})
        return parts_of(body=body, fpn=FeaturePyramidNetwork([128, 256], 16))

    return _images(x_side, make, features)


def families() -> Families:
    """By name."""
    classes: Callable[[], dict[str, int]] = partial(dict, num_classes=2)
    simple: dict[str, Make] = {
        "alexnet": _images(64, lambda: _small_classifier(models.alexnet(num_classes=2), 256 * 36)),
        "vgg": _images(32, lambda: _vgg(False)),
        "vgg_bn": _images(32, lambda: _vgg(True)),
        "resnet_basic": _images(32, _resnet),
        "resnet_bottleneck": _images(32, lambda: _resnet(resnet.Bottleneck, width_per_group=16)),
        "resnext": _images(32, lambda: _resnet(resnet.Bottleneck, groups=8, width_per_group=4)),
        "wide_resnet": _images(32, lambda: _resnet(resnet.Bottleneck, width_per_group=128)),
        "densenet": _images(32, lambda: models.DenseNet(8, (2, 2, 2, 2), 16, **classes())),
        "googlenet": _images(64, lambda: models.googlenet(aux_logits=False, init_weights=False, **classes())),
        "inception_v3": _images(80, lambda: models.inception_v3(aux_logits=False, init_weights=False, **classes())),
        "squeezenet": _images(64, lambda: models.squeezenet1_1(**classes())),
        "mobilenet_v2": _images(32, lambda: models.mobilenet_v2(width_mult=0.35, **classes())),
        "mobilenet_v3": _images(32, lambda: models.mobilenet_v3_small(width_mult=0.5, **classes())),
        "shufflenet_v2": _images(32, lambda: models.shufflenet_v2_x0_5(**classes())),
        "mnasnet": _images(32, lambda: models.mnasnet0_5(**classes())),
        "efficientnet": _images(32, lambda: models.efficientnet_b0(**classes())),
        "efficientnet_v2": _images(32, _efficientnet_v2),
        "regnet_x": _images(32, lambda: models.regnet_x_400mf(**classes())),
        "regnet_y": _images(32, lambda: models.regnet_y_400mf(**classes())),
        "convnext": _images(32, _convnext),
        "vit": _images(32, lambda: models.VisionTransformer(32, 8, 2, 2, 32, 64, **classes())),
        "swin": _images(32, _swin),
        "swin_v2": _images(
            32,
            lambda: _swin(
                block=swin_transformer.SwinTransformerBlockV2, downsample_layer=swin_transformer.PatchMergingV2
            ),
        ),
        "maxvit": _images(64, lambda: models.MaxVit((64, 64), 16, 2, [16, 32], [1, 1], 8, 0.1, **classes())),
        "video_r3d": _clips(4, 16, lambda: _video(video.resnet.Conv3DSimple, video.resnet.BasicStem)),
        "video_mc3": _clips(4, 16, lambda: _video(video.resnet.Conv3DNoTemporal, video.resnet.BasicStem)),
        "video_r2plus1d": _clips(4, 16, lambda: _video(video.resnet.Conv2Plus1D, video.resnet.R2Plus1dStem)),
        "video_s3d": _clips(16, 32, _s3d),
        "video_mvit": _clips(4, 32, _mvit),
        "video_swin3d": _clips(
            4, 32, lambda: video.SwinTransformer3d([2, 4, 4], 16, [2, 2], [2, 4], [2, 4, 4], num_classes=2)
        ),
        "segmentation_fcn": _images(32, _fcn, _mean_of_pixels),
        "segmentation_deeplab": _images(32, _deeplab, _mean_of_pixels),
        "segmentation_lraspp": _images(32, _lraspp, _mean_of_pixels),
    }
    return {name: (make, 1) for name, make in simple.items()} | {"feature_pyramid": (_pyramid(32), None)}
