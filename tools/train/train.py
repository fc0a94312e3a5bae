"""Trains a detector with anomalib and writes it as one .onnx file, which the setting "network" of an anomaly-model takes.

    tools/train/train.sh MODEL PICTURES OUT.onnx [--size N] [--epochs N] [--steps N] [--without-weights] [--set KEY=VALUE ...]

MODEL is the name of one of anomalib's image models: Padim, Stfpm, ReverseDistillation, Fastflow, EfficientAd, Patchcore, ...
PICTURES holds pictures of good parts, or is a class folder in MVTec's layout, whose train/good is taken.
Without --without-weights anomalib downloads what the model starts from: a backbone; for EfficientAd a teacher and 1.5 GB of pictures.
"""
import argparse
import ast
import inspect
import shutil
import tempfile
from pathlib import Path

import onnx
import timm
import torch
from anomalib import models
from anomalib.data import Folder
from anomalib.engine import Engine

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=256, help="input of the network, pixels; default 256")
    parser.add_argument("--epochs", type=int, help="default: as many as anomalib takes for the model")
    parser.add_argument("--steps", type=int, help="of training at most")
    parser.add_argument("--without-weights", action="store_true", help="start from random weights: nothing is downloaded, nothing useful is learned by most models")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the model, as in anomalib")
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu; default auto")
    return parser.parse_args()


def good_pictures(folder):
    inner = folder / "train" / "good"
    home = inner if inner.is_dir() else folder
    found = sorted(p for p in home.iterdir() if p.suffix.lower() in SUFFIXES)
    if len(found) < 2:
        raise SystemExit(f"{home} holds {len(found)} pictures; a training needs two good ones at least.")
    return found


def without_weights():
    """From now on every backbone that anomalib makes, and EfficientAD's teacher, has random weights: nothing is downloaded."""
    make = timm.create_model
    timm.create_model = lambda *args, **more: make(*args, **{**more, "pretrained": False})
    models.EfficientAd.prepare_pretrained_model = lambda _: None


def model_of(args, root):
    kind = getattr(models, args.model, None)
    if kind is None:
        raise SystemExit(f"anomalib has no model {args.model}; see https://anomalib.readthedocs.io for their names.")
    settings = {}
    for pair in args.set:
        key, _, value = pair.partition("=")
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key] = value
    if args.without_weights:
        without_weights()
        if kind is models.EfficientAd:
            # it also wants pictures of anything, in folders; these are as random as its teacher
            settings.setdefault("imagenet_dir", root)
    # some cut out the middle unless told otherwise; parts are to be inspected to their edge
    whole = {"crop_size": args.size} if "crop_size" in inspect.signature(kind.configure_pre_processor).parameters else {}
    pre = kind.configure_pre_processor(image_size=(args.size, args.size), **whole)
    return kind(pre_processor=pre, **settings)


def main():
    args = arguments()
    pictures = good_pictures(args.pictures)
    with tempfile.TemporaryDirectory() as work:
        # only what is good: the threshold is Goodparts' own, from a fit with good pictures
        root = Path(work) / "data"
        (root / "good").mkdir(parents=True)
        for i, picture in enumerate(pictures):
            shutil.copy(picture, root / "good" / f"{i:06}{picture.suffix.lower()}")
        model = model_of(args, root)
        batch = 1 if args.model == "EfficientAd" else 8
        data = Folder(
            name="parts",
            root=root,
            normal_dir="good",
            train_batch_size=batch,
            eval_batch_size=4,
            num_workers=0,
            test_split_mode="synthetic",
            val_split_mode="same_as_test",
        )
        # an epoch of no more than the steps, as its end brings the validation, from which the scale of the scores comes
        limits = {"max_epochs": args.epochs, "max_steps": args.steps, "limit_train_batches": args.steps}
        limits = {key: value for key, value in limits.items() if value}
        engine = Engine(accelerator=args.device, devices=1, default_root_dir=work, logger=False, **limits)
        engine.fit(model, datamodule=data)
        # one picture at a time, as Goodparts scores them; torch.export cannot leave the number open for every model
        # 18 is what torch writes; older ones, as anomalib asks for, it cannot make of every model and says so at length
        fixed = {"input_size": (args.size, args.size), "dynamic_shapes": None, "opset_version": 18}
        made = Path(model.eval().to_onnx(Path(work) / "export", "model", **fixed))
        # one file, weights included
        onnx.save(onnx.load(made), args.out)
    print(f"{args.out}: {args.model}, {args.out.stat().st_size / 1e6:.1f} MB, torch {torch.__version__}")


if __name__ == "__main__":
    main()
