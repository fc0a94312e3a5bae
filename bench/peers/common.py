"""What all peers share: backbones, pictures, clocks and memory."""

import os
import statistics
import time
from pathlib import Path

THREADS = int(os.environ.get("PEER_THREADS", 2))
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))

import numpy as np  # noqa: E402 (after the thread counts)
import torch  # noqa: E402
from anomalib.models.components import TimmFeatureExtractor  # noqa: E402
from anomalib.models.image import Patchcore  # noqa: E402
from PIL import Image  # noqa: E402

torch.set_num_threads(THREADS)

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
BACKBONES = ("resnet18", "wide_resnet50_2")
LAYERS = ("layer2", "layer3")
SIZE = 256
RATIO = 0.1
WARM_UP = 3


def picture_files(folder):
    return sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"})


def batch_of(files):
    """The pictures as anomalib feeds them: float32 [N,3,SIZE,SIZE], antialiased resize, ImageNet normalisation."""
    transform = pre_processor().transform
    pictures = [torch.from_numpy(np.asarray(Image.open(f).convert("RGB")).copy()) for f in files]
    return torch.cat([transform((p.permute(2, 0, 1).float() / 255)[None]) for p in pictures])


def pre_processor():
    return Patchcore.configure_pre_processor((SIZE, SIZE))


def extractor(backbone):
    """timm's network through anomalib, not pre-trained, cut after layer3."""
    return TimmFeatureExtractor(backbone=backbone, pre_trained=False, layers=list(LAYERS)).eval()


def load_weights(features, backbone, folder):
    """The weights of export_backbones.py, into an extractor of anomalib."""
    features.feature_extractor.load_state_dict(torch.load(folder / f"{backbone}.pth", weights_only=True))
    return features


def peak_mb():
    """Largest resident memory of this process so far, MB (10^6 bytes)."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6)


def timed(call, items, warm_up=WARM_UP):
    """Calls once per item after a warm-up on the first; milliseconds: all, their median, 5th and 95th percentile, and the least."""
    for _ in range(warm_up):
        call(items[0])
    times = []
    for item in items:
        start = time.perf_counter()
        call(item)
        times.append((time.perf_counter() - start) * 1e3)
    p5, p95 = np.percentile(times, [5, 95])
    figures = {"median": statistics.median(times), "p5": p5, "p95": p95, "min": min(times)}
    figures = {k: round(float(v), 1) for k, v in figures.items()}
    return {**figures, "n": len(times), "times": [round(t, 2) for t in times]}


def radius(points, centres, chunk=2048):
    """Covering radius: the largest distance of a point to its nearest centre, in the full embedding space."""
    norms = (centres**2).sum(1)
    worst = 0.0
    for part in points.split(chunk):
        squared = torch.addmm(norms, part, centres.T, alpha=-2).amin(1) + (part**2).sum(1)
        worst = max(worst, float(squared.max()))
    return max(worst, 0) ** 0.5
