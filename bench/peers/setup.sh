#!/bin/sh
# Installs the peers into bench/peers/.venv (about 7 GB: torch comes with its CUDA libraries) and makes the backbones and pictures.
#   bench/peers/setup.sh [folder of good pictures]
# Without a folder only the packages are installed. PYTHON names the interpreter (3.11 was measured); default python3.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/.venv"
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --disable-pip-version-check -r "$here/requirements.txt"
[ $# -ge 1 ] || exit 0
"$venv/bin/python" "$here/prepare_images.py" "$1" "$here/out/images"
"$venv/bin/python" -W ignore "$here/export_backbones.py" --images "$here/out/images"
