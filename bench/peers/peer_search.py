"""The search alone: 1,024 patches of one picture against a full bank, exactly, with scikit-learn, faiss and torch."""

import faiss
import numpy as np
from common import THREADS, timed
from sklearn.neighbors import NearestNeighbors

PATCHES = 1024
BANK = 21_401
WIDTH = {"resnet18": 384, "wide_resnet50_2": 1536}


def search(backbone, repeats=15):
    random = np.random.default_rng(0)
    bank, queries = (random.standard_normal((n, WIDTH[backbone]), dtype=np.float32) for n in (BANK, PATCHES))
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank)
    brute = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(bank)
    found = brute.kneighbors(queries)[1], index.search(queries, 1)[1]
    return {
        "queries": PATCHES,
        "bank": list(bank.shape),
        "sameNeighbours": float((found[0] == found[1]).mean()),
        "sklearnMs": timed(lambda _: brute.kneighbors(queries), range(repeats)),
        "faissMs": timed(lambda _: index.search(queries, 1), range(repeats)),
    }
