"""Scalar fields [n, n] in [0, 1]: the patterns that the procedural pictures are made of."""

import cv2
import numpy as np
from scipy.spatial import cKDTree

from basics import f32, grid, jittered_grid, noise, rotate, unit_range, wave


def f_noise(rng, n):
    """Clouds."""
    return unit_range(noise(rng, n))


def f_ridge(rng, n):
    """Creases: the zero crossings of noise."""
    return unit_range(-np.abs(noise(rng, n, octs=rng.integers(1, 4))))


def f_grain(rng, n):
    """Fine grain."""
    return unit_range(cv2.GaussianBlur(rng.standard_normal((n, n), dtype=f32), (0, 0), rng.uniform(0.5, 2.5)))


def f_streak(rng, n):
    """Brushed or fibrous streaks in one direction."""
    m = int(n * 1.5)
    a = noise(rng, m, k=rng.uniform(10, 120), octs=rng.integers(1, 4), ax=np.exp(rng.uniform(2, 5)))
    M = cv2.getRotationMatrix2D((m / 2, m / 2), rng.choice([0, 90, rng.uniform(0, 180)]), 1)
    M[:, 2] -= (m - n) / 2
    return unit_range(cv2.warpAffine(a, M, (n, n), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def f_grating(rng, n):
    """A line grating."""
    x, y = grid(n)
    u, v = rotate(x, y, rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]))
    p = np.exp(rng.uniform(np.log(4), np.log(50)))
    return wave(rng, u / p).astype(f32)


def f_plaid(rng, n):
    """Two crossed gratings."""
    x, y = grid(n)
    u, v = rotate(x, y, rng.choice([0, np.pi / 4, rng.uniform(0, np.pi)]))
    p = np.exp(rng.uniform(np.log(5), np.log(50)))
    q = p * rng.choice([1, 1, rng.uniform(0.5, 2)])
    a, b = wave(rng, u / p), wave(rng, v / q)
    k = rng.integers(4)
    return (a * b if k == 0 else np.maximum(a, b) if k == 1 else np.abs(a - b) if k == 2 else (a + b) / 2).astype(f32)


def f_weave(rng, n):
    """Woven threads, plain or twill."""
    x, y = grid(n)
    u, v = rotate(x, y, rng.choice([0, np.pi / 4, rng.uniform(0, np.pi)]))
    p = np.exp(rng.uniform(np.log(5), np.log(30)))
    i, j = np.floor(u / p), np.floor(v / p)
    s = rng.integers(1, 4)
    over = (i + s * j) % (s + 1) == 0 if s > 1 else (i + j) % 2 == 0
    e = rng.uniform(0.3, 1.5)
    a = np.abs(np.sin(np.pi * u / p)) ** e
    b = np.abs(np.sin(np.pi * v / p)) ** e
    st = 0.15 * np.sin(2 * np.pi * (u * rng.uniform(0.5, 2) + v) / rng.uniform(2, 4))
    return unit_range(
        np.where(
            over,
            a * (0.6 + 0.4 * np.cos(np.pi * (v / p - j - 0.5))),
            b * (0.6 + 0.4 * np.cos(np.pi * (u / p - i - 0.5))),
        )
        + st
    )


def f_voronoi(rng, n):
    """Cells: their borders, centres or flat values."""
    h = n // 2
    p = np.exp(rng.uniform(np.log(5), np.log(40))) / 2
    P = jittered_grid(rng, h, p)
    x, y = grid(h)
    if rng.random() < 0.5:
        w = p * rng.uniform(0.1, 0.8)
        x = x + w * (unit_range(noise(rng, h, octs=2)) - 0.5) * 2
        y = y + w * (unit_range(noise(rng, h, octs=2)) - 0.5) * 2
    d, i = cKDTree(P).query(np.stack([x.ravel(), y.ravel()], 1), k=2)
    k = rng.integers(4)
    val = rng.random(len(P)).astype(f32)
    e = unit_range((d[:, 1] - d[:, 0]).reshape(h, h))
    c = val[i[:, 0]].reshape(h, h)
    if k == 0:
        a = e
    elif k == 1:
        a = unit_range(d[:, 0].reshape(h, h))
    else:
        a = c if k == 2 else c * np.clip(e * rng.uniform(2, 8), 0, 1)
    return np.clip(cv2.resize(a.astype(f32), (n, n), interpolation=cv2.INTER_LINEAR), 0, 1)


def f_lattice(rng, n):
    """A regular or jittered lattice of small shapes: holes, dots, dashes, crosses."""
    p = np.exp(rng.uniform(np.log(7), np.log(50)))
    im = np.zeros((n, n), np.uint8)
    k = rng.integers(5)
    s = p * rng.uniform(0.15, 0.45)
    ar = rng.uniform(0.3, 1)
    th = rng.uniform(0, 180)
    jt = rng.random() < 0.3
    for q in jittered_grid(rng, n, p):
        a = rng.uniform(0, 180) if jt else th
        if k <= 1:
            cv2.ellipse(
                im,
                (int(q[0]), int(q[1])),
                (max(int(s), 1), max(int(s * ar), 1)),
                a,
                0,
                360,
                255,
                -1 if k == 0 else max(1, int(s * 0.3)),
                cv2.LINE_AA,
            )
        elif k == 2:
            b = cv2.boxPoints(((float(q[0]), float(q[1])), (2 * s, 2 * s * ar), float(a)))
            cv2.fillConvexPoly(im, (b * 8).astype(np.int32), 255, cv2.LINE_AA, 3)
        else:
            t = np.deg2rad(a)
            for tt in (t,) if k == 3 else (t, t + np.pi / 2):
                d = np.array([np.cos(tt), np.sin(tt)]) * s * 1.3
                cv2.line(
                    im,
                    tuple(((q - d) * 8).astype(int)),
                    tuple(((q + d) * 8).astype(int)),
                    255,
                    max(1, int(s * 0.35)),
                    cv2.LINE_AA,
                    3,
                )
    return (im / 255.0).astype(f32)


def f_cppn(rng, n):
    """A smooth random composition of coordinates (a small random network)."""
    h = n // 2
    x, y = grid(h)
    s = np.exp(rng.uniform(np.log(1.5), np.log(14)))
    X = (
        np.stack([x / h - 0.5, y / h - 0.5, np.hypot(x / h - 0.5, y / h - 0.5), unit_range(noise(rng, h)) - 0.5], -1)
        .reshape(-1, 4)
        .astype(f32)
    )
    X = X * np.array([s, s, s * rng.integers(2), s * 0.3 * rng.integers(2)], f32)
    d = 14
    for layer in range(rng.integers(2, 5)):
        X = (
            X @ (rng.standard_normal((X.shape[1], d), dtype=f32) * (1.6 / X.shape[1] ** 0.5 if layer else 1))
            + rng.standard_normal(d, dtype=f32) * 0.5
        )
        k = rng.integers(0, 4, d)
        X = np.where(
            k == 0, np.sin(X * 2), np.where(k == 1, np.tanh(X), np.where(k == 2, np.abs(X) - 0.7, np.exp(-X * X)))
        )
    return cv2.resize(
        unit_range((X @ rng.standard_normal((d, 1))).reshape(h, h)), (n, n), interpolation=cv2.INTER_LINEAR
    )


def f_rcnn(rng, n):
    """A random convolutional network on noise: a stationary texture."""
    x = [
        noise(rng, n, octs=rng.integers(1, 4)) if rng.random() < 0.5 else rng.standard_normal((n, n), dtype=f32)
        for _ in range(3)
    ]
    for layer in range(rng.integers(2, 4)):
        o = []
        for _ in range(3):
            a = 0
            for c in x:
                ks = int(rng.choice([3, 5, 7]))
                a = a + cv2.filter2D(
                    c, -1, rng.standard_normal((ks, ks), dtype=f32) / ks, borderType=cv2.BORDER_REFLECT
                )
            a = a / (a.std() + 1e-06)
            o.append([np.tanh(2 * a), np.abs(a), np.maximum(a, 0), np.sin(3 * a)][rng.integers(4)].astype(f32))
        x = o
    return unit_range(x[0])


def f_ring(rng, n):
    """Distorted rings around a far centre."""
    x, y = grid(n)
    x0, y0 = rng.uniform(-2 * n, 2 * n, 2)
    p = np.exp(rng.uniform(np.log(4), np.log(30)))
    d = np.hypot((x - x0) * rng.uniform(0.1, 1), y - y0)
    return unit_range(
        wave(rng, (d + p * rng.uniform(0, 3) * unit_range(noise(rng, n, k=rng.uniform(1, 5), octs=3))) / p)
    )


def f_strokes(rng, n):
    """Random marks: strokes, arcs, scribbles, fibres."""
    im = np.zeros((n, n), np.uint8)
    m = int(np.exp(rng.uniform(np.log(60), np.log(1200))))
    L = np.exp(rng.uniform(np.log(3), np.log(40)))
    k = rng.integers(3)
    th = rng.uniform(0, np.pi)
    sp = rng.choice([0.1, 0.5, 4])
    w = int(rng.choice([1, 1, 2, 3]))
    P = rng.uniform(0, n, (m, 2))
    A = th + rng.normal(0, sp, m)
    V = rng.integers(90, 256, m)
    for i in range(m):
        if k == 0:
            d = np.array([np.cos(A[i]), np.sin(A[i])]) * L * 0.5
            cv2.line(im, tuple((P[i] - d).astype(int)), tuple((P[i] + d).astype(int)), int(V[i]), w, cv2.LINE_AA)
        elif k == 1:
            cv2.ellipse(
                im,
                tuple(P[i].astype(int)),
                (int(L * 0.5) + 1, int(L * 0.3) + 1),
                float(np.rad2deg(A[i])),
                0,
                float(rng.uniform(60, 360)),
                int(V[i]),
                w,
                cv2.LINE_AA,
            )
        else:
            q = P[i] + np.cumsum(rng.normal(0, L * 0.3, (4, 2)), 0)
            cv2.polylines(im, [q.astype(np.int32)], False, int(V[i]), w, cv2.LINE_AA)
    return (im / 255.0).astype(f32)


def f_spots(rng, n):
    """Spots on an even ground."""
    a = noise(rng, n, octs=1, k=np.exp(rng.uniform(np.log(8), np.log(60))))
    a = a / a.std()
    t = rng.uniform(0.5, 2)
    return np.clip((a - t) * rng.uniform(1, 8), 0, 1).astype(f32)


def f_ifs(rng, n):
    """The density of an iterated function system."""
    k = rng.integers(2, 6)
    A = rng.uniform(-0.8, 0.8, (k, 2, 2))
    b = rng.uniform(-1, 1, (k, 2))
    p = rng.uniform(-1, 1, (6000, 2))
    H = np.zeros((n, n), f32)
    for i in range(k):
        s = np.linalg.norm(A[i], 2)
        A[i] *= rng.uniform(0.5, 0.85) / max(s, 0.001)
    for t in range(24):
        c = rng.integers(0, k, len(p))
        p = np.einsum('nij,nj->ni', A[c], p) + b[c]
        if t > 6:
            h, _, _ = np.histogram2d(p[:, 1], p[:, 0], n, [[-3, 3], [-3, 3]])
            H += h.astype(f32)
    return np.clip(np.log1p(H) / 1.5, 0, 1)


# those that look alike everywhere; what stands twice is drawn twice as often
# fmt: off
STATIONARY = [
    f_noise, f_noise, f_ridge, f_grain, f_streak, f_grating, f_plaid, f_weave, f_weave, f_voronoi,
    f_lattice, f_lattice, f_rcnn, f_ring, f_strokes, f_spots,
]
# fmt: on
ALL_FIELDS = STATIONARY + [f_cppn, f_ifs, f_cppn]


def warp(rng, a, amp=None):
    """Displaces a field smoothly by about amp pixels."""
    n = a.shape[0]
    amp = amp or np.exp(rng.uniform(0, np.log(14)))
    x, y = grid(n)
    cells = int(rng.uniform(2, 16)) + 2

    def shift():
        return amp * cv2.resize(rng.standard_normal((cells, cells), dtype=f32), (n, n), interpolation=cv2.INTER_CUBIC)

    sx, sy = shift(), shift()
    return cv2.remap(a, x + sx, y + sy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def field(rng, n, pool=STATIONARY):
    """A random field of the pool, sometimes warped, mixed with another or thresholded."""
    a = pool[rng.integers(len(pool))](rng, n)
    if rng.random() < 0.3:
        a = warp(rng, a)
    if rng.random() < 0.35:
        b = pool[rng.integers(len(pool))](rng, n)
        k = rng.integers(4)
        w = rng.uniform(0.15, 0.85)
        if k == 0:
            a = a * b
        elif k == 1:
            a = w * a + (1 - w) * b
        else:
            a = np.where(b > w, a, 1 - a) if k == 2 else np.maximum(a, b)
    if rng.random() < 0.2:
        a = np.clip((a - rng.uniform(0.2, 0.6)) * rng.uniform(2, 10), 0, 1)
    return a.astype(f32)
