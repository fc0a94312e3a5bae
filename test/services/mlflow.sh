#!/usr/bin/env bash
# Installs MLflow from PyPI into test/.cache/mlflow for test/flows/mlflow.test.ts: 850 MB, about a minute.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -x test/.cache/mlflow/bin/mlflow ] && exit 0
mkdir -p test/.cache
python3 -m venv test/.cache/mlflow
test/.cache/mlflow/bin/pip install --quiet --disable-pip-version-check 'mlflow>=3,<4'
