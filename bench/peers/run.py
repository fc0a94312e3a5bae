"""Measures one peer: fit and score, or the search alone; one JSON object.

    run.py --peer anomalib|openvino|faiss|sklearn --backbone resnet18|wide_resnet50_2 --images FOLDER --json FILE

One process; PEER_THREADS threads, two unless set. The memory is the peak of this process up to the end of the fit.
"""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

from common import BACKBONES, OUT, THREADS, peak_mb

PACKAGES = ("anomalib", "torch", "openvino", "faiss-cpu", "scikit-learn", "numpy")


def measure(args):
    if args.peer == "anomalib":
        import peer_anomalib as peer

        if "fit" in args.phases:
            yield "fit", peer.fit(args.backbone, args.weights, args.images, args.greedy_steps)
        if "score" in args.phases:
            yield "score", peer.score_torch(args.backbone, args.weights, args.images, args.count)
    elif args.peer == "openvino":
        import peer_anomalib as peer

        for name, config in (("score", {}), ("scoreF32", {"INFERENCE_PRECISION_HINT": "f32"})):
            yield name, peer.score_openvino(args.backbone, args.weights, args.images, args.count, config)
    elif args.peer == "faiss":
        import peer_faiss as peer

        if "fit" in args.phases:
            yield "fit", peer.fit(args.backbone, args.weights, args.images, args.greedy_steps)
        if "score" in args.phases:
            yield "score", peer.score(args.backbone, args.weights, args.images, args.count)
    else:
        import peer_search as peer

        yield "search", peer.search(args.backbone)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=("anomalib", "openvino", "faiss", "sklearn"), required=True)
    parser.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of good pictures")
    parser.add_argument("--weights", type=Path, default=OUT, help="folder that export_backbones.py wrote")
    parser.add_argument("--phases", nargs="+", choices=("fit", "score"), default=["fit", "score"])
    parser.add_argument("--greedy-steps", type=int, help="steps of the greedy to measure; the rest is extrapolated")
    parser.add_argument("--count", type=int, default=15, help="pictures to score")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = {"peer": args.peer, "backbone": args.backbone, "threads": THREADS, "python": platform.python_version()}
    result["versions"] = {name: version(name) for name in PACKAGES}
    for name, figures in measure(args):
        result[name] = figures
        print(name, json.dumps({k: v for k, v in figures.items() if k != "scores"}), flush=True)
    result["peakMbOfAll"] = peak_mb()
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
