"""What a user of an exported detector writes in Python: python export.py detector.onnx picture.png ..."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
for file in sys.argv[2:]:
    image = np.asarray(Image.open(file).convert("RGB"))
    score, anomaly_map, anomalous = session.run(["score", "map", "anomalous"], {"image": image})
    # whoever wants another threshold than the one in the file gives it along
    (strict,) = session.run(["anomalous"], {"image": image, "threshold": np.zeros(1, np.float32)})
    anomaly_map.astype("<f4").tofile(file + ".map")
    name = session.get_modelmeta().custom_metadata_map["name"]
    verdicts = {"anomalous": bool(anomalous[0]), "strict": bool(strict[0])}
    told = {"score": float(score[0]), "shape": anomaly_map.shape, "name": name, **verdicts}
    print(json.dumps(told))
