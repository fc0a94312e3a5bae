#!/bin/sh
# Trains a detector with anomalib, in a virtual environment that it makes beside itself at the first call:
#   tools/train/train.sh MODEL PICTURES OUT.onnx [options]       (train.sh --help tells more)
set -e
here=$(cd "$(dirname "$0")" && pwd)
venv=${GOODPARTS_VENV:-$here/.venv}
if [ ! -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
fi
exec "$venv/bin/python" "$here/train.py" "$@"
