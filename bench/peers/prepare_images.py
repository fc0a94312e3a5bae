"""Writes the training pictures as JPEG, 1024 px, quality 95, so that everyone reads the same files.

    prepare_images.py FROM TO [--count 209]
"""

import argparse
from pathlib import Path

from PIL import Image

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--count", type=int, default=209)
    args = parser.parse_args()
    args.target.mkdir(parents=True, exist_ok=True)
    for file in sorted(args.source.iterdir())[: args.count]:
        picture = Image.open(file).convert("RGB").resize((1024, 1024), Image.Resampling.BICUBIC)
        picture.save(args.target / f"{file.stem}.jpg", quality=95)
