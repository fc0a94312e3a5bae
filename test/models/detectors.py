"""Trains small anomaly detectors with anomalib for a few steps, exports them to ONNX and writes down what anomalib's own inferencer gives.

    pip install "anomalib[openvino]" onnxscript
    python test/models/detectors.py small PARTS [FOLDER [NAME ...]]   # fixtures of a few kB each, from a folder of `goodparts sample`
    python test/models/detectors.py full CLASS [FOLDER [NAME ...]]    # networks of their usual size, from any folder in MVTec's layout

NAMEs pick some of the networks. FOLDER is test/fixtures/detectors for `small`, test/.cache/detectors/<name of CLASS> for `full`. Nothing is downloaded: backbones and teachers have
random weights, which is enough to compare numbers. Beside the networks lies what they give for some pictures, in expected.json.
"""
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from anomalib.data import Folder
from anomalib.deploy import OpenVINOInferencer
from anomalib.engine import Engine
from anomalib.models import Dinomaly, EfficientAd, Fastflow, Padim, Patchcore, ReverseDistillation, Stfpm
from anomalib.models.image.efficient_ad import torch_model as efficientad_parts
from anomalib.post_processing import PostProcessor
from PIL import Image
from torch import nn
from torchvision.transforms.v2.functional import pil_to_tensor, resize

TESTS = Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS.parent / "tools/train"))
from train import without_weights
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
# so many values of a map tell as much as all of them
ENOUGH = 2000


class SlimConv(nn.Conv2d):
    """A convolution of 16 channels where EfficientAD has up to 256: kilobytes instead of megabytes."""

    def __init__(self, ins, outs, *args, **more):
        super().__init__(min(ins, 16), min(outs, 16), *args, **more)


def picture_of(file, size):
    """The picture as a network wants it: resized with antialiasing to (height, width), RGB in 0..1, [1, 3, H, W]."""
    pixels = pil_to_tensor(Image.open(file).convert("RGB")).float()
    # the last bit above 255, and anomalib's inferencer takes it for a picture of 0..255
    return (resize(pixels, list(size), antialias=True)[None] / 255).clamp(max=1)


def data(root, batch):
    defects = sorted(f"test/{d.name}" for d in (root / "test").iterdir() if d.name != "good")
    return Folder(
        name="part",
        root=root,
        normal_dir="train/good",
        abnormal_dir=defects,
        normal_test_dir="test/good",
        train_batch_size=batch,
        eval_batch_size=4,
        num_workers=0,
        val_split_mode="same_as_test",
    )


def trained(model, root):
    """A few steps, and the validation at the end of the epoch: thresholds and the scale of the scores come from it; without, they stay raw."""
    few = {} if isinstance(model, (Padim, Patchcore)) else {"limit_train_batches": 5}
    with tempfile.TemporaryDirectory() as runs:
        engine = Engine(accelerator="cpu", devices=1, default_root_dir=runs, logger=False, max_epochs=1, **few)
        engine.fit(model, datamodule=data(root, 1 if isinstance(model, EfficientAd) else 4))
    return model.eval()


def detector(kind, root, size, pre=None, **settings):
    """A detector of anomalib."""
    pre = kind.configure_pre_processor(image_size=size, **(pre or {}))
    net = kind(pre_processor=pre, evaluator=False, **settings)  # some evaluators want masks, and nobody reads their figures
    if kind is Patchcore:
        settle(net.model.feature_extractor.feature_extractor, root, size)
    return trained(net, root)


def settle(backbone, root, size):
    """Lets the normalisation of a random backbone see some pictures. Without, all its patches are nearly the same: PatchCore's distances,
    differences of large numbers in float32, are then mostly rounding, and no two programs agree on them."""
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean of all that it sees
    files = sorted((root / "train/good").iterdir())[:8]
    with torch.no_grad():
        backbone.train()(normalised(torch.cat([picture_of(file, size) for file in files])))
    backbone.eval()


def padim(root, **more):
    return detector(Padim, root, SHAPE, **LEAN, n_features=8, **more)


def efficientad(root, slim):
    convolution = efficientad_parts.nn.Conv2d
    if slim:
        efficientad_parts.nn.Conv2d = SlimConv
    try:
        net = EfficientAd(imagenet_dir=root / "train", teacher_out_channels=8 if slim else 384)
    finally:
        efficientad_parts.nn.Conv2d = convolution
    return trained(net, root)


class Raw(nn.Module):
    """A detector without anomalib's pre- and post-processing, as 1.x exported it: the map and the score as they are."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        found = self.net(x)
        return found.anomaly_map, found.pred_score


class EfficientAdMaps(nn.Module):
    """What exports in the manner of nelson1425's EfficientAD give, of a small teacher and student; the picture is normalised outside."""

    def __init__(self):
        super().__init__()
        layers = lambda outs: nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.ReLU(), nn.Conv2d(8, outs, 4, 2))
        self.teacher, self.student = layers(8), layers(8)

    def forward(self, x):
        distance = (self.teacher(x) - self.student(x)).square().mean(1, keepdim=True)
        combined = nn.functional.interpolate(distance, x.shape[-2:], mode="bilinear")
        return combined, combined.amax((1, 2, 3))


def autoencoder():
    down = lambda a, b: [nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()]
    up = lambda a, b: [nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*down(3, 8), *down(8, 16), *up(16, 8), *up(8, 3)[:-1], nn.Sigmoid()).eval()


def whole(file):
    """One file instead of a graph and its data beside it."""
    model = onnx.load(file)
    data_file = file.with_suffix(".onnx.data")
    onnx.save(model, file)
    data_file.unlink(missing_ok=True)


def record(pictures, size, run):
    """What `run` gives for each of the pictures: the score, and every `step`-th value of the map."""
    facts = {"size": list(size), "pictures": {}}
    for file in pictures:
        score, found = run(picture_of(file, size))
        found = np.asarray(found, np.float32).squeeze()
        step = max(7, found.size // ENOUGH | 1)  # odd: not always the same columns
        values = [float(f"{v:.7g}") for v in found.flatten()[::step]]
        facts["pictures"][file.name] = {"score": float(score), "shape": list(found.shape), "step": step, "map": values}
    return facts


def export_anomalib(folder, name, net, size, pictures, dynamic=False, external=False):
    """Exports with anomalib, records with its OpenVINOInferencer, which takes the .onnx file as it is."""
    home = folder / name
    with tempfile.TemporaryDirectory() as made:
        # a batch of any size does not come through torch.export for every detector (PatchCore)
        shapes = {"input_size": None} if dynamic else {"input_size": size, "dynamic_shapes": None}
        file = Path(net.to_onnx(made, "model", **shapes))
        if not external:
            whole(file)
        home.mkdir(parents=True, exist_ok=True)
        for part in file.parent.iterdir():
            shutil.copy(part, home / part.name)
    return record_anomalib(home, size, pictures)


class Inferencer(OpenVINOInferencer):
    """Anomalib's, but for the names of the outputs: where a tensor has several, that takes any of them, and then fails."""

    @staticmethod
    def post_process(predictions):
        known = {"pred_score", "pred_label", "anomaly_map", "pred_mask"}
        return {(names & known).pop(): value for names, value in zip(predictions.names(), predictions.to_tuple())}


def record_anomalib(home, size, pictures):
    inferencer = Inferencer(home / "model.onnx", device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"})

    def run(picture):
        found = inferencer.predict(picture[0].permute(1, 2, 0).numpy())
        return found.pred_score.item(), found.anomaly_map

    return record(pictures, size, run)


def export_torch(folder, name, net, size, outputs, pictures, run, metadata=None):
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net, (torch.rand(1, 3, *size),), str(home / "model.onnx"), input_names=["input"], output_names=outputs, dynamo=False
    )
    if metadata:
        (home / "metadata.json").write_text(json.dumps(metadata, indent=1))
    with torch.no_grad():
        return record(pictures, size, run)


def normalised(picture):
    mean, std = (torch.tensor(v)[None, :, None, None] for v in IMAGENET)
    return (picture - mean) / std


SHAPE = (64, 96)
LEAN = {"backbone": "mobilenetv3_small_050", "layers": ["blocks.0", "blocks.1"]}
SIZE, RESNET = (256, 256), {"backbone": "resnet18", "layers": ["layer1", "layer2", "layer3"]}


def metadata_of(post):
    """What anomalib 1.0 wrote beside its exports."""
    steps = [
        {"__class_fullname__": "Resize", "height": SHAPE[0], "width": SHAPE[1], "interpolation": 1},
        {"__class_fullname__": "Normalize", "mean": IMAGENET[0], "std": IMAGENET[1], "max_pixel_value": 255.0},
        {"__class_fullname__": "ToTensorV2", "transpose_mask": False},
    ]
    return {
        "task": "segmentation",
        "transform": {"__version__": "1.3.1", "transform": {"__class_fullname__": "Compose", "transforms": steps}},
        "image_threshold": post.image_threshold.item(),
        "pixel_threshold": post.pixel_threshold.item(),
        "min": post.pixel_min.item(),
        "max": post.pixel_max.item(),
    }


def padim_1x(root, folder, name, pictures):
    net = padim(root)
    raw, metadata = Raw(net.model).eval(), metadata_of(net.post_processor)
    run = lambda picture: [t.squeeze() for t in raw(normalised(picture))][::-1]
    return export_torch(folder, name, raw, SHAPE, ["output", "second"], pictures, run, metadata)


def padim_sensitive(root, folder, name, pictures):
    post = PostProcessor(image_sensitivity=0.6, pixel_sensitivity=0.3)
    return export_anomalib(folder, name, padim(root, post_processor=post), SHAPE, pictures)


def efficientad_maps(_root, folder, name, pictures):
    net = EfficientAdMaps().eval()
    run = lambda picture: [t.squeeze() for t in net(normalised(picture))][::-1]
    return export_torch(folder, name, net, SHAPE, ["combined_map", "image_score"], pictures, run)


def mirror(_root, folder, name, pictures):
    net = autoencoder()

    def squared(picture):
        error = (picture - net(picture)).square()
        return error.mean(), error.mean(1)

    return export_torch(folder, name, net, SHAPE, ["output"], pictures, squared)


def simple(make, size, **more):
    """An export of what `make` trains on a folder."""
    return lambda root, folder, name, pictures: export_anomalib(folder, name, make(root), size, pictures, **more)


def usual(kind, size=SIZE, **more):
    """An export of a detector of anomalib."""
    return simple(lambda root: detector(kind, root, size, **more), size)


NETWORKS = {
    "small": {
        "padim": simple(padim, SHAPE, external=True),
        "padim-dynamic": simple(padim, SHAPE, dynamic=True),
        "padim-1x": padim_1x,
        "padim-sensitive": padim_sensitive,
        "patchcore": usual(Patchcore, SHAPE, coreset_sampling_ratio=0.02, **LEAN),
        "patchcore-crop": usual(Patchcore, (80, 112), pre={"center_crop_size": SHAPE}, coreset_sampling_ratio=0.02, **LEAN),
        "efficientad": simple(lambda root: efficientad(root, slim=True), SIZE),
        "efficientad-maps": efficientad_maps,
        "autoencoder": mirror,
    },
    "full": {
        "padim": usual(Padim, n_features=100, **RESNET),
        "patchcore": usual(Patchcore, coreset_sampling_ratio=0.02, backbone="resnet18", layers=["layer2", "layer3"]),
        "efficientad": simple(lambda root: efficientad(root, slim=False), SIZE),
        "stfpm": usual(Stfpm, **RESNET),
        "fastflow": usual(Fastflow, backbone="resnet18"),
        "reverse-distillation": usual(ReverseDistillation, **RESNET),
        "dinomaly": usual(Dinomaly, (224, 224), pre={"crop_size": 224}, encoder_name="vit_small_patch14_reg4_dinov2"),
    },
}


def pictures_of(root, folder, kinds):
    """A good picture of the folder's test pictures and one of each of the first `kinds` defects, which the networks are compared on."""
    folder.mkdir(parents=True, exist_ok=True)
    defects = [d for d in sorted((root / "test").iterdir()) if d.name != "good"][:kinds]
    places = {"good.png": root / "test/good", "bad.png": defects[0], **{f"{d.name}.png": d for d in defects[1:]}}
    for name, place in places.items():
        if not (folder / name).exists():
            Image.open(sorted(place.iterdir())[0]).convert("RGB").save(folder / name)
    return [folder / name for name in places]


def main():
    how, root = sys.argv[1], Path(sys.argv[2])
    home = TESTS / "fixtures/detectors" if how == "small" else TESTS / ".cache/detectors" / root.name
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else home
    torch.manual_seed(0)
    torch.set_num_threads(1)
    without_weights()
    pictures = pictures_of(root, folder, 1 if how == "small" else 3)
    facts_file = folder / "expected.json"
    facts = json.loads(facts_file.read_text()) if facts_file.exists() else {}
    for name in sys.argv[4:] or NETWORKS[how]:
        facts[name] = NETWORKS[how][name](root, folder, name, pictures)
        facts_file.write_text(json.dumps(facts))
        print(name, facts[name]["size"], {p: v["score"] for p, v in facts[name]["pictures"].items()}, flush=True)


if __name__ == "__main__":
    main()
