"""Exports networks of every family in models/catalogue.json with random weights, to test that the engine taps them.

    pip install -r test/models/requirements.txt
    python test/models/export.py [FOLDER] [NAME ...]

FOLDER is test/.cache/models unless named; NAMEs pick some of the networks. Nothing is downloaded: taps and shapes do not depend on
the weights. Beside each network lies what PyTorch's own forward gives for a picture, in expected.json, where the test compares.
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
import torchvision
from onnx import numpy_helper

torch.manual_seed(0)
torch.set_num_threads(1)
HERE = Path(__file__).resolve().parents[1] / ".cache/models"


class ChannelsLast(torch.nn.Module):
    """A network that takes [N, H, W, 3], as exports from TensorFlow do."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.permute(0, 3, 1, 2))


class Tokens(torch.nn.Module):
    """A transformer that gives all its normed tokens, as the published DINOv2 files do (`last_hidden_state`)."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.forward_features(x)


def plain_resample(embedding, new_size, num_prefix_tokens=1, **_):
    """timm's resampling of position embeddings without antialiasing, which ONNX exporters cannot write."""
    prefix, grid = embedding[:, :num_prefix_tokens], embedding[:, num_prefix_tokens:]
    side = int(grid.shape[1] ** 0.5)
    grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=new_size, mode="bicubic", align_corners=False)
    return torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)


def vit(name, dynamic, **more):
    net = timm.create_model(name, pretrained=False, dynamic_img_size=dynamic, **more)
    if dynamic and hasattr(sys.modules[type(net).__module__], "resample_abs_pos_embed"):
        sys.modules[type(net).__module__].resample_abs_pos_embed = plain_resample
    return net


def resnet18():
    return torchvision.models.resnet18()


# name: network, input size, opset, options; `layers` are the modules whose outputs the taps must equal
CNN = {"layers": ["layer2", "layer3"]}
TIMM_BLOCKS = {"layers": ["blocks.2", "blocks.4"]}
EXPORTS = {
    "resnet18": (resnet18, 224, 16, CNN),
    "resnet18-ir3": (resnet18, 224, 9, {**CNN, "ir3": True}),
    "resnet18-fp16": (resnet18, 224, 16, {**CNN, "half": True}),
    "resnet18-dynamo": (resnet18, 224, 18, {**CNN, "dynamo": True, "external": True}),
    **{f"resnet18-opset{n}": (resnet18, 224, n, CNN) for n in (7, 8, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20)},
    "resnet18-opset21": (resnet18, 224, 21, {**CNN, "dynamo": True}),
    "wide_resnet50_2": (lambda: timm.create_model("wide_resnet50_2"), 224, 16, CNN),
    "mobilenetv2_100": (lambda: timm.create_model("mobilenetv2_100"), 224, 16, TIMM_BLOCKS),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, 224, 12, {"layers": ["features.6", "features.13"]}),
    "mobilenetv3_large_100": (lambda: timm.create_model("mobilenetv3_large_100"), 224, 16, TIMM_BLOCKS),
    "efficientnet_lite0": (lambda: timm.create_model("efficientnet_lite0"), 224, 16, TIMM_BLOCKS),
    "efficientnet_lite0-nhwc": (lambda: timm.create_model("efficientnet_lite0"), 224, 11, {**TIMM_BLOCKS, "nhwc": True}),
    "squeezenet1_1": (torchvision.models.squeezenet1_1, 224, 13, {"layers": ["features.7", "features.12"]}),
    "convnext_tiny": (lambda: timm.create_model("convnext_tiny"), 224, 17, {"layers": ["stages.1", "stages.2"]}),
    "vits14": (lambda: Tokens(vit("vit_small_patch14_dinov2", True)), 252, 17, {"layers": ["net.norm"], "dynamic": True}),
    "vits14-classifier": (
        lambda: vit("vit_small_patch14_dinov2", False, img_size=252, num_classes=10),
        252,
        17,
        {"layers": ["norm"], "skip": 1},
    ),
    "vits14-opset14": (lambda: Tokens(vit("vit_small_patch14_dinov2", True)), 252, 14, {"layers": ["net.norm"], "dynamic": True}),
    "vits14-reg": (lambda: Tokens(vit("vit_small_patch14_reg4_dinov2", True)), 252, 17, {"layers": ["net.norm"], "dynamic": True}),
    "vits16-dinov3": (
        lambda: Tokens(vit("vit_small_patch16_dinov3", True)),
        256,
        18,
        {"layers": ["net.norm"], "dynamo": True, "external": True, "dynamic": True},
    ),
    "vits16-dinov3-fixed": (
        lambda: Tokens(vit("vit_small_patch16_dinov3", False, img_size=256)),
        256,
        18,
        {"layers": ["net.norm"], "dynamo": True, "external": True},
    ),
}


def tap_outputs(net, layers, picture):
    """What the named modules give for the picture."""
    got = {}
    modules = dict(net.named_modules())
    hooks = [modules[n].register_forward_hook(lambda _m, _i, o, n=n: got.__setitem__(n, o)) for n in layers]
    with torch.no_grad():
        net(picture)
    for hook in hooks:
        hook.remove()
    return [got[n] for n in layers]


def as_ir3(model):
    """Weights listed as inputs and IR 3, as files of 2018 are."""
    known = {i.name for i in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in known:
            model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    model.ir_version = 3


def to_half(model):
    """Weights, input and every declared type in float16."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def export(folder, name):
    make, size, opset, options = EXPORTS[name]
    net = make().eval()
    picture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(7))
    wanted = tap_outputs(net, options["layers"], picture)
    if options.get("nhwc"):
        net, fed = ChannelsLast(net), picture.permute(0, 2, 3, 1).contiguous()
    else:
        fed = picture
    file = folder / f"{name}.onnx"
    more = {}
    if options.get("dynamic") and options.get("dynamo"):
        dim = torch.export.Dim
        more["dynamic_shapes"] = ({0: dim("N"), 2: 16 * dim("rows"), 3: 16 * dim("columns")},)
        fed = torch.cat([fed, fed])  # one alone would be taken for a constant
    elif options.get("dynamic"):
        more["dynamic_axes"] = {"x": {0: "N", 2: "H", 3: "W"}}
    torch.onnx.export(
        net,
        (fed,),
        str(file),
        input_names=["x"],
        opset_version=opset,
        dynamo=options.get("dynamo", False),
        **({"external_data": False} if options.get("dynamo") else {}),
        **more,
    )
    model = onnx.load(file)
    if options.get("ir3"):
        as_ir3(model)
    if options.get("half"):
        to_half(model)
    data = f"{name}.onnx_data"
    (folder / data).unlink(missing_ok=True)
    if options.get("external"):
        onnx.save(model, file, save_as_external_data=True, all_tensors_to_one_file=True, location=data, size_threshold=1024)
    elif options.get("ir3") or options.get("half"):
        onnx.save(model, file)
    picture.numpy().astype("<f4").tofile(folder / f"{name}.picture.f32")
    shapes, values = [], []
    for tensor in wanted:
        shapes.append(list(tensor.shape))
        # every 997th number tells as much as all of them
        values.append([float(v) for v in tensor.flatten()[::997][:64]])
    domain = next(o.version for o in model.opset_import if o.domain == "")
    del net
    return {"size": size, "opset": domain, "ir": model.ir_version, "shapes": shapes, "values": values}


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    folder.mkdir(parents=True, exist_ok=True)
    facts_file = folder / "expected.json"
    facts = json.loads(facts_file.read_text()) if facts_file.exists() else {}
    for name in sys.argv[2:] or EXPORTS:
        try:
            facts[name] = export(folder, name)
            print(name, facts[name]["opset"], facts[name]["shapes"], flush=True)
        except Exception as error:  # one network that this PyTorch cannot export must not stop the others
            print(f"{name}: not exported: {type(error).__name__}: {str(error).splitlines()[0][:200]}", flush=True)
        facts_file.write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
