"""anomalib's Patchcore with one of our backbones: the same pictures, the same weights, its own transforms, coreset, scores and metrics.

    accuracy.py --class FOLDER --backbone FILE.onnx [--size 256] [--coreset 0.1] [--seed 0] --json FILE

The folder is a class in MVTec AD's layout. The backbone is an ONNX file whose outputs are the feature maps, shallow first; it runs on ONNX
Runtime inside anomalib's model, so that weights need no conversion. Maps and masks are compared at the network's input size, as anomalib does.
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.engine import Engine
from anomalib.metrics.aupro import _AUPRO
from anomalib.models.image import Patchcore
from common import LAYERS, THREADS, peak_mb
from lightning.pytorch import seed_everything
from PIL import Image
from torchmetrics.classification import BinaryAUROC
from torchvision.transforms.v2.functional import InterpolationMode, resize

warnings.filterwarnings("ignore")
for name in ("anomalib", "lightning.pytorch"):
    logging.getLogger(name).setLevel(logging.ERROR)

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class OnnxFeatures(torch.nn.Module):
    """Stands in for anomalib's feature extractor: float32 [N,3,H,W], normalised as for ImageNet, to a dictionary of feature maps."""

    def __init__(self, file, normalises):
        super().__init__()
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.layers = [output.name for output in self.session.get_outputs()]
        self.normalises = normalises

    def forward(self, images):
        # a network that normalises by itself takes RGB from 0 to 1
        given = images * DEVIATION + MEAN if self.normalises else images
        # one at a time: the file may not take more
        parts = [self.session.run(None, {self.session.get_inputs()[0].name: one[None].numpy()}) for one in given]
        return {name: torch.cat([torch.from_numpy(part[i]) for part in parts]) for i, name in enumerate(self.layers)}


def patchcore(args):
    model = Patchcore(
        backbone="resnet18",  # replaced below
        layers=LAYERS,
        pre_trained=False,
        coreset_sampling_ratio=args.coreset,
        pre_processor=Patchcore.configure_pre_processor((args.size, args.size)),
        post_processor=False,  # raw scores: its normalisation cuts them off at 0 and 1
        evaluator=False,
        visualizer=False,
    )
    model.model.feature_extractor = OnnxFeatures(args.backbone, args.normalises)
    model.model.layers = model.model.feature_extractor.layers
    return model


def fit(model, folder):
    good = Folder(
        name="accuracy", root=folder, normal_dir="train/good", num_workers=0, test_split_mode="none", val_split_mode="none"
    )
    with tempfile.TemporaryDirectory() as place:
        engine = Engine(
            default_root_dir=place, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
        )
        good.setup()
        engine.fit(model=model, train_dataloaders=good.train_dataloader())


def mask_of(file, size):
    """bool [size,size], scaled as anomalib scales masks; None where a defective picture has none, as not all of a class need to."""
    if file.parent.name == "good":
        return torch.zeros(size, size, dtype=torch.bool)
    mask = file.parents[2] / "ground_truth" / file.parent.name / f"{file.stem}_mask.png"
    if not mask.exists():
        return None
    given = torch.from_numpy(np.array(Image.open(mask).convert("L")))[None]
    return resize(given, [size, size], InterpolationMode.NEAREST)[0] > 0


def evaluate(model, args):
    """anomalib's metrics; the largest value is 1, as torchmetrics takes a sigmoid of anything larger, which makes large distances alike."""
    model.eval()
    scores, labels, maps, masks = [], [], [], []
    with torch.inference_mode():
        for file in sorted((args.folder / "test").glob("*/*")):
            found = model(read_image(file, as_tensor=True)[None])
            scores.append(float(found.pred_score))
            labels.append(int(file.parent.name != "good"))
            mask = mask_of(file, args.size)
            if mask is None:
                continue
            maps.append(found.anomaly_map.reshape(args.size, args.size))
            masks.append(mask)
    scores, maps, masks = torch.tensor(scores), torch.stack(maps), torch.stack(masks)
    image_auroc, pixel_auroc, aupro = BinaryAUROC(), BinaryAUROC(), _AUPRO(fpr_limit=0.3)
    image_auroc.update(scores / scores.max(), torch.tensor(labels))
    pixel_auroc.update(maps / maps.max(), masks)
    aupro.update(maps / maps.max(), masks)
    return {"image_auroc": image_auroc.compute(), "pixel_auroc": pixel_auroc.compute(), "aupro": aupro.compute()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--class", dest="folder", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--normalises", action="store_true", help="the network normalises by itself")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--coreset", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    seed_everything(args.seed)
    model = patchcore(args)
    start = time.perf_counter()
    fit(model, args.folder)
    seconds = time.perf_counter() - start
    result = {
        **{name: round(float(value), 4) for name, value in evaluate(model, args).items()},
        "bank_size": len(model.model.memory_bank),
        "fit_seconds": round(seconds, 1),
        "peak_rss_mb": peak_mb(),
    }
    args.json.write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
