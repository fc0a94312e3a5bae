"""Makes the two backbones that every peer and Goodparts itself load: ResNet18 and WideResNet50-2 with fixed random weights.

Random, because pre-trained ones cannot be had from a package registry, and the time of a network does not depend on its weights.
Kaiming weights, and batch-norm statistics taken from real pictures, keep the activations of every layer near unit variance.

    export_backbones.py --images FOLDER [--out bench/peers/out]

writes <name>.pth (state dict of timm's feature extractor) and <name>.onnx (input [N,3,H,W], outputs layer2 and layer3).
"""

import argparse
import warnings
from pathlib import Path

import torch
from common import BACKBONES, LAYERS, OUT, batch_of, extractor, picture_files

CALIBRATION_IMAGES = 8


def randomise(network, images):
    """Fixed random weights; the statistics of each batch norm become those of the images."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
            torch.nn.init.zeros_(module.bias)
            module.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(images)
    network.eval()


def export(name, images, folder):
    features = extractor(name)
    network = features.feature_extractor
    randomise(network, images)
    with torch.no_grad():
        spread = [float(layer.std()) for layer in network(images)]
    torch.save(network.state_dict(), folder / f"{name}.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (images[:1],),
            str(folder / f"{name}.onnx"),
            input_names=["input"],
            output_names=list(LAYERS),
            dynamic_axes={k: {0: "n", 2: f"h_{k}", 3: f"w_{k}"} for k in ("input", *LAYERS)},
            opset_version=17,
            dynamo=False,
        )
    print(f"{folder / name}.onnx: standard deviation of {', '.join(LAYERS)}: {', '.join(f'{s:.3f}' for s in spread)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    batch = batch_of(picture_files(args.images)[:CALIBRATION_IMAGES])
    for backbone in BACKBONES:
        export(backbone, batch, args.out)
