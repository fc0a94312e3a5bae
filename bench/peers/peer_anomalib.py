"""anomalib's Patchcore on torch (CPU) and, exported by anomalib itself, on OpenVINO."""

import contextlib
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path

import torch
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.deploy import OpenVINOInferencer, TorchInferencer
from anomalib.engine import Engine
from anomalib.models.components import KCenterGreedy
from anomalib.models.image import Patchcore
from anomalib.models.image.patchcore import torch_model
from common import LAYERS, RATIO, THREADS, batch_of, load_weights, peak_mb, picture_files, pre_processor, radius, timed
from PIL import Image

warnings.filterwarnings("ignore")
logging.getLogger("anomalib").setLevel(logging.ERROR)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class StopWatch(KCenterGreedy):
    """anomalib's greedy, with the clock read at every step; `limit` steps at most, the rest is extrapolated."""

    limit = None
    last = None

    def select_coreset_idxs(self):
        StopWatch.last = self
        self.wanted, self.points, self.steps = self.coreset_size, self.embedding, []
        self.coreset_size = min(self.wanted, self.limit or self.wanted)
        start = time.perf_counter()
        chosen = super().select_coreset_idxs()
        self.measured = time.perf_counter() - start
        self.ahead = self.steps[0] - start
        return chosen

    def update_distances(self, cluster_center):
        self.steps.append(time.perf_counter())
        super().update_distances(cluster_center)

    def seconds(self):
        """(seconds of the whole greedy, seconds a step): the projection ahead of it as it was, the steps times their number."""
        step = (self.steps[-1] - self.steps[0]) / (len(self.steps) - 1)
        whole = self.measured if self.coreset_size == self.wanted else self.ahead + step * self.wanted
        return whole, step


def patchcore(backbone, weights):
    model = Patchcore(
        backbone=backbone,
        layers=LAYERS,
        pre_trained=False,
        coreset_sampling_ratio=RATIO,
        pre_processor=pre_processor(),
        post_processor=False,  # raw scores, as Goodparts gives them
        evaluator=False,
        visualizer=False,
    )
    load_weights(model.model.feature_extractor, backbone, weights)
    return model


def fit(backbone, weights, images, steps):
    """anomalib's own engine and data module; memory is read before the covering radius is computed."""
    StopWatch.limit = steps
    torch_model.KCenterGreedy = StopWatch
    model = patchcore(backbone, weights)
    data = Folder(
        name="peers", root=images.parent, normal_dir=images.name, num_workers=0, test_split_mode="none", val_split_mode="none"
    )
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(
            default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
        )
        start = time.perf_counter()
        data.setup()
        engine.fit(model=model, train_dataloaders=data.train_dataloader())
        measured = time.perf_counter() - start
    peak, sampler = peak_mb(), StopWatch.last
    greedy, step = sampler.seconds()
    complete = sampler.coreset_size == sampler.wanted
    return {
        "seconds": round(measured - sampler.measured + greedy, 1),
        "greedySeconds": round(greedy, 1),
        "greedyStepMs": round(step * 1e3, 2),
        "greedySteps": sampler.wanted,
        "greedyStepsMeasured": sampler.coreset_size,
        "extrapolated": not complete,
        "projectedTo": sampler.features.shape[1],
        "peakMb": peak,
        "patches": list(sampler.points.shape),
        "radius": radius(sampler.points, model.model.memory_bank) if complete else None,
    }


def random_bank(model, backbone, weights, images):
    """A memory bank of a random tenth of the patches, kept in a file; how long scoring takes does not depend on which they are."""
    file = weights / f"{backbone}.bank.pt"
    if not file.exists():
        generator = torch.Generator().manual_seed(0)
        model.model.train()
        parts = []
        for image in picture_files(images):
            rows = model.model(batch_of([image]))
            model.model.embedding_store.clear()
            parts.append(rows[torch.randperm(len(rows), generator=generator)[: round(len(rows) * RATIO)]].clone())
        torch.save(torch.cat(parts), file)
    model.model.memory_bank = torch.load(file, weights_only=True)
    return model.eval()


def score_torch(backbone, weights, images, count):
    """File to score and map in numpy, by the TorchInferencer on the exported model."""
    with scored_model(backbone, weights, images) as (model, folder):
        os.environ["TRUST_REMOTE_CODE"] = "1"
        inferencer = TorchInferencer(model.to_torch(folder), device="cpu")

    def call(file):
        with torch.inference_mode():
            result = inferencer.predict(file)
        return float(result.pred_score), result.anomaly_map.numpy()

    files = picture_files(images)[:count]
    bank = model.model.memory_bank
    queries = torch.rand(1024, bank.shape[1])
    search = timed(lambda _: model.model.nearest_neighbors(queries, 1), range(10))
    return {"bank": list(bank.shape), "ms": timed(call, files), "searchMs": search, "scores": [call(f)[0] for f in files]}


def score_openvino(backbone, weights, images, count, config):
    """The same by anomalib's OpenVINOInferencer; `scores` next to those of torch, as a time counts only where they agree."""
    with scored_model(backbone, weights, images) as (model, folder), torch.inference_mode(False):
        # with dynamic shapes, its default, this version exports a batch of 2, which its own inferencer cannot feed
        xml = model.to_openvino(folder, input_size=picture_size(images), onnx_kwargs={"dynamic_shapes": None})
        with contextlib.chdir(folder):
            inferencer = OpenVINOInferencer(xml, device="CPU", config={"INFERENCE_NUM_THREADS": THREADS, **config})
        precision = inferencer.model.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    def call(file):
        result = inferencer.predict(file)
        return float(result.pred_score.item()), result.anomaly_map

    files = picture_files(images)[:count]
    reference = torch_scores(model, files)
    scores = [call(f)[0] for f in files]
    worst = max(abs(a - b) / abs(b) for a, b in zip(scores, reference, strict=True))
    return {
        "bank": list(model.model.memory_bank.shape),
        "precision": precision,
        "ms": timed(call, files),
        "scores": scores,
        "worstRelativeDifference": worst,
        "equal": worst <= 1e-3,
    }


def picture_size(images):
    """(height, width) of the first picture."""
    with Image.open(picture_files(images)[0]) as picture:
        return picture.size[::-1]


def torch_scores(model, files):
    with torch.inference_mode():
        return [float(model(read_image(f, as_tensor=True)[None]).pred_score) for f in files]


@contextlib.contextmanager
def scored_model(backbone, weights, images):
    model = random_bank(patchcore(backbone, weights), backbone, weights, images)
    with tempfile.TemporaryDirectory() as folder:
        yield model, Path(folder)
