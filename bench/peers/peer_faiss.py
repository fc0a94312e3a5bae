"""PatchCore as amazon's patchcore-inspection does it, which is not on the package registry: written here from the paper and its
documentation, with torch for the network and faiss for the search.

What differs from anomalib: 3 x 3 neighbourhoods of each layer are unfolded and averaged to 1,024 numbers, both layers together to
1,024 numbers again; the greedy works on 128 random projections and starts from the mean distance to 10 random points; the bank is
searched by faiss IndexFlatL2; the map is scaled up bilinearly and smoothed with sigma 4.
"""

import time

import faiss
import numpy as np
import torch
from common import LAYERS, RATIO, SIZE, THREADS, extractor, load_weights, peak_mb, picture_files, radius, timed
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F
from torchvision import transforms

WIDTH = 1024
PROJECTED = 128
STARTS = 10
BATCH = 2  # as in its examples

TRANSFORM = transforms.Compose(
    [
        transforms.Resize((SIZE, SIZE)),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def read(file):
    """One file, [3,SIZE,SIZE] float32."""
    with Image.open(file) as picture:
        return TRANSFORM(picture.convert("RGB"))


def neighbourhoods(layer):
    """[N,C,H,W] to [N,H,W,C*9]: each cell with its eight neighbours, zeros beyond the edge."""
    n, _, height, width = layer.shape
    return F.unfold(layer, kernel_size=3, padding=1).transpose(1, 2).reshape(n, height, width, -1)


def averaged(rows, width):
    """[M,K] to [M,width] by averaging neighbouring numbers."""
    return F.adaptive_avg_pool1d(rows.unsqueeze(1), width).squeeze(1)


@torch.inference_mode()
def embed(network, pictures):
    """[N,3,H,W] to ([N*h*w,WIDTH], (h, w)) of the first layer's grid."""
    maps = network(pictures)
    first, *deeper = (neighbourhoods(maps[layer]) for layer in LAYERS)
    n, height, width, _ = first.shape
    rows = [averaged(first.reshape(n * height * width, -1), WIDTH)]
    for layer in deeper:
        scaled = F.interpolate(layer.permute(0, 3, 1, 2), size=(height, width), mode="bilinear", align_corners=False)
        rows.append(averaged(scaled.permute(0, 2, 3, 1).reshape(n * height * width, -1), WIDTH))
    return averaged(torch.stack(rows, dim=1).reshape(n * height * width, -1), WIDTH), (height, width)


@torch.inference_mode()
def greedy(points, wanted, steps):
    """k-center on random projections: (rows chosen, seconds before the first step, seconds of each step)."""
    start = time.perf_counter()
    torch.manual_seed(0)
    reduced = torch.nn.Linear(points.shape[1], PROJECTED, bias=False)(points)
    norms = (reduced**2).sum(1, keepdim=True)

    def distances(rows):
        centres = reduced[rows]
        squared = norms + (centres**2).sum(1) - 2 * reduced @ centres.T
        return squared.clamp(min=0).sqrt()

    nearest = distances(torch.randperm(len(points))[:STARTS]).mean(1, keepdim=True)
    ahead, chosen, first = time.perf_counter() - start, [], time.perf_counter()
    for _ in range(min(wanted, steps or wanted)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, distances(chosen[-1:]))
    return chosen, ahead, (time.perf_counter() - first) / len(chosen)


def fit(backbone, weights, images, steps):
    network, files = load_weights(extractor(backbone), backbone, weights), picture_files(images)
    start = time.perf_counter()
    parts = []
    for i in range(0, len(files), BATCH):
        parts.append(embed(network, torch.stack([read(f) for f in files[i : i + BATCH]]))[0])
    points = torch.cat(parts)
    parts.clear()
    embedded = time.perf_counter() - start
    wanted = int(len(points) * RATIO)
    chosen, ahead, step = greedy(points, wanted, steps)
    index = index_of(points[chosen].numpy())
    greedy_seconds = ahead + step * wanted
    complete = len(chosen) == wanted
    return {
        "seconds": round(embedded + greedy_seconds, 1),
        "greedySeconds": round(greedy_seconds, 1),
        "greedyStepMs": round(step * 1e3, 2),
        "greedySteps": wanted,
        "greedyStepsMeasured": index.ntotal,
        "extrapolated": not complete,
        "projectedTo": PROJECTED,
        "peakMb": peak_mb(),
        "patches": list(points.shape),
        "radius": radius(points, points[chosen]) if complete else None,
    }


def index_of(bank):
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(np.ascontiguousarray(bank))
    return index


def random_index(network, backbone, weights, files):
    """An index over a random tenth of the patches, kept in a file; the time of a search does not depend on which they are."""
    file = weights / f"{backbone}.faiss.npy"
    if not file.exists():
        random = np.random.default_rng(0)
        parts = []
        for image in files:
            rows = embed(network, read(image)[None])[0].numpy()
            parts.append(rows[random.permutation(len(rows))[: round(len(rows) * RATIO)]])
        np.save(file, np.concatenate(parts))
    return index_of(np.load(file))


def score(backbone, weights, images, count):
    network, files = load_weights(extractor(backbone), backbone, weights), picture_files(images)
    index = random_index(network, backbone, weights, files)

    def call(file):
        rows, grid = embed(network, read(file)[None])
        nearest = index.search(rows.numpy(), 1)[0][:, 0]
        scaled = F.interpolate(torch.from_numpy(nearest).reshape(1, 1, *grid), size=(SIZE, SIZE), mode="bilinear")
        return float(nearest.max()), gaussian_filter(scaled[0, 0].numpy(), sigma=4)

    queries = embed(network, read(files[0])[None])[0].numpy()
    search = timed(lambda _: index.search(queries, 1), range(15))
    return {"bank": [index.ntotal, index.d], "ms": timed(call, files[:count]), "searchMs": search}
