"""Objects and layouts: parts lit by a lamp on a ground, each in several slightly different instances."""

import cv2
import numpy as np

from basics import f32, grid, rotate
from fields import STATIONARY, field
from pictures import TILE, color, relief, slopes, texture


def sdf(kind, x, y, a, b, k, e):
    """Signed distance (approximate, negative inside) to an ellipse, box, capsule, ring, gear, nut or bent bar."""
    if kind == 0:
        return np.hypot(x, y * a / b) - a
    if kind == 1:
        qx, qy = np.abs(x) - a + e, np.abs(y) - b + e
        return np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0) - e
    if kind == 2:
        return np.hypot(np.maximum(np.abs(x) - (a - b), 0), y) - b if a > b else np.hypot(x, y) - a
    if kind == 3:
        return np.abs(np.hypot(x, y) - a) - min(b * 0.4, a * 0.6)
    t = np.arctan2(y, x)
    rr = np.hypot(x, y)
    if kind == 4:
        return rr - a * (1 + e / 20 * np.clip(3 * np.sin(k * t), -1, 1))
    if kind == 5:
        s = 2 * np.pi / k
        tt = t % s - s / 2
        return rr * np.cos(tt) - a * np.cos(s / 2)
    return np.maximum(np.abs(x) - a, np.abs(y + 0.15 * a * np.sin(x / a * 2.5)) - b)


def make_object(rng):
    """Parameters of a random object: primitives, material, lamp, ground and how its instances vary."""
    size = rng.uniform(22, 66)
    n = int(rng.choice([1, 1, 2, 2, 3, 4, 6]))
    prims = []
    al = rng.uniform(0, np.pi)
    axis = rng.random() < 0.5
    polar = rng.random() < 0.2
    metal = rng.random() < 0.4
    base = color(rng)
    for i in range(n):
        a = size * (rng.uniform(0.55, 1) if i == 0 else rng.uniform(0.12, 0.6))
        b = a * rng.uniform(0.2, 1)
        kind = int(rng.integers(7))
        if i == 0:
            c = np.zeros(2)
        elif axis:  # parts along one axis, as on a bolt
            c = np.array([rng.choice([-1, 1]) * size * rng.uniform(0.2, 0.9), 0.0])
        else:
            c = rng.uniform(-0.6, 0.6, 2) * size
        col = base + rng.normal(0, 0.05, 3) if metal or rng.random() < 0.5 else color(rng)
        p = dict(
            kind=kind,
            a=a,
            b=b,
            k=int(rng.integers(4, 14)),
            e=rng.uniform(0, min(a, b) * 0.6),
            c=c,
            th=0 if axis else rng.uniform(0, np.pi),
            col=np.clip(col, 0, 1),
            prof=int(rng.integers(4)),
            hh=rng.uniform(0.4, 1.5),
            thread=(rng.uniform(3, 12), rng.uniform(0.2, 1.2)) if rng.random() < 0.35 else None,
            tex=rng.uniform(0, 0.5) if rng.random() < 0.4 else 0,
            hole=i > 0 and rng.random() < 0.25,
        )
        prims.append(p)
        if polar and i > 0:
            m = rng.integers(2, 7)
            for j in range(1, m):
                t = 2 * np.pi * j / m
                R = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
                prims.append(dict(p, c=R @ c, th=p['th'] + t))
    return dict(
        prims=prims[:14],
        th=al,
        el=rng.uniform(0.4, 1.2),
        lth=rng.uniform(0, 6.3),
        amb=rng.uniform(0.2, 0.6),
        spec=rng.uniform(0, 0.9) if metal else rng.choice([0, rng.uniform(0, 0.5)]),
        sp=rng.uniform(6, 60),
        # the unused texture keeps the order of the random numbers, and with it every picture made so far
        bg=(
            texture(rng, TILE, STATIONARY) * 0.0 + color(rng)
            if rng.random() < 0.6
            else texture(rng, TILE + 32, STATIONARY)
        ),
        bgamp=rng.choice([0, 0.01, 0.03]),
        shadow=rng.uniform(0, 0.6) if rng.random() < 0.6 else 0,
        tex=field(rng, TILE + 32),
        jit=rng.choice([0, 0.3, 1.5]),
        rotj=rng.choice([0, 0, 4, 180]),
        posj=rng.choice([1, 4, 10]),
    )


def render_object(o, rng):
    """One instance of an object, [TILE, TILE, 3]."""
    n = TILE
    x, y = grid(n)
    x -= n / 2
    y -= n / 2
    bg = o['bg']
    if bg.shape[0] > TILE:
        i, j = rng.integers(0, 32, 2)
        bg = bg[i : i + TILE, j : j + TILE]
    img = bg + o['bgamp'] * rng.standard_normal((n, n, 1), dtype=f32)
    px, py = rng.normal(0, o['posj'] * 0.5, 2)
    th = o['th'] + np.deg2rad(rng.uniform(-o['rotj'], o['rotj']))
    X, Y = rotate(x - px, y - py, th)
    L = np.array([np.cos(o['lth']) * np.cos(o['el']), np.sin(o['lth']) * np.cos(o['el']), np.sin(o['el'])])
    Hh = L + [0, 0, 1]
    Hh = Hh / np.linalg.norm(Hh)
    ds = []  # distance and local coordinates of each primitive
    for p in o['prims']:
        u, v = rotate(X - p['c'][0] - rng.normal(0, o['jit']), Y - p['c'][1] - rng.normal(0, o['jit']), p['th'])
        d = sdf(p['kind'], u, v, p['a'], max(p['b'], 2), p['k'], p['e'])
        if p['thread'] and p['kind'] in (1, 2):
            d = d + p['thread'][1] * np.sin(2 * np.pi * u / p['thread'][0] + 0.5 * np.sign(v))
        ds.append((d, u, v))
    if o['shadow']:
        m = (np.minimum.reduce([d for d, _, _ in ds]) < 0).astype(f32)
        m = cv2.GaussianBlur(np.roll(m, (int(-L[1] * 8), int(-L[0] * 8)), (0, 1)), (0, 0), 4)
        img = img * (1 - o['shadow'] * m)[..., None]
    tx = o['tex'][:TILE, :TILE]
    for p, (d, u, v) in zip(o['prims'], ds):
        al = np.clip(0.5 - d / 1.2, 0, 1).astype(f32)
        if al.max() <= 0:
            continue
        R = min(p['a'], max(p['b'], 2))
        q = np.clip(-d / R, 0, 1).astype(f32)
        h = (
            [np.sqrt(np.clip(1 - (1 - q) ** 2, 0, 1)), np.minimum(q * 4, 1), q, q * 0 + 0.02 * u / R][p['prof']]
            * p['hh']
            * R
        )
        if p['thread']:
            h = h + p['thread'][1] * np.sin(2 * np.pi * (u + 0.25 * v) / p['thread'][0])
        if p['tex']:
            h = h + p['tex'] * 4 * tx
        # h is the height of the surface; its slope meets the lamp (nl: diffuse, s: glint)
        h = cv2.GaussianBlur(h.astype(f32), (0, 0), 0.8)
        gx, gy = slopes(h)
        iv = 1 / np.sqrt(1 + gx * gx + gy * gy)
        nl = np.clip((-gx * L[0] - gy * L[1] + L[2]) * iv, 0, 1)
        s = np.clip((-gx * Hh[0] - gy * Hh[1] + Hh[2]) * iv, 0, 1) ** o['sp']
        c = p['col'] * (0.35 if p['hole'] else 1) * (1 + p['tex'] * (tx[..., None] - 0.5))
        c = c * (o['amb'] + (1.1 - o['amb']) * nl)[..., None] + o['spec'] * s[..., None]
        img = img + (c - img) * al[..., None]
    return img


def layout_class(rng):
    """Four instances of a fixed layout of flat parts, glyphs and traces, as on circuit boards, labels and trays."""
    bg = texture(rng, TILE) if rng.random() < 0.5 else np.ones((TILE, TILE, 3), f32) * color(rng)
    ops = []
    jit = rng.choice([0, 0.5, 1.5])
    cols = [color(rng) * 255 for _ in range(4)]
    for _ in range(int(np.exp(rng.uniform(np.log(4), np.log(60))))):
        ops.append(
            (
                int(rng.integers(6)),
                rng.uniform(0, TILE, 2),
                np.exp(rng.uniform(np.log(2), np.log(26))),
                rng.uniform(0.2, 1),
                rng.choice([0, 90, rng.uniform(0, 180)]),
                cols[rng.integers(4)],
                int(rng.choice([1, 1, 2, 3])),
                ''.join(chr(rng.integers(33, 127)) for _ in range(rng.integers(1, 7))),
            )
        )
    gridded = rng.random() < 0.3
    h = field(rng, TILE) if rng.random() < 0.3 else None
    seed = int(rng.integers(1 << 30))
    al = rng.uniform(0.5, 1)
    outs = []
    for i in range(4):
        im = (np.clip(bg, 0, 1) * 255).astype(np.uint8).copy()
        base = im.copy()
        for k, c, s, ar, th, col, w, txt in ops:
            if gridded:
                c = np.round(c / 24) * 24
            c = c + rng.normal(0, jit, 2)
            ci = (int(c[0]), int(c[1]))
            col = tuple(float(v) for v in col)
            if k == 0:
                cv2.ellipse(im, ci, (int(s) + 1, int(s * ar) + 1), th, 0, 360, col, -1, cv2.LINE_AA)
            elif k == 1:
                cv2.fillConvexPoly(
                    im,
                    (cv2.boxPoints(((float(c[0]), float(c[1])), (2 * s, 2 * s * ar), float(th))) * 8).astype(np.int32),
                    col,
                    cv2.LINE_AA,
                    3,
                )
            elif k == 2:
                d = np.array([np.cos(np.deg2rad(th)), np.sin(np.deg2rad(th))]) * s * 2.5
                cv2.line(im, tuple((c - d).astype(int)), tuple((c + d).astype(int)), col, w, cv2.LINE_AA)
            elif k == 3:
                cv2.ellipse(im, ci, (int(s) + 2, int(s * ar) + 2), th, 0, 360, col, w, cv2.LINE_AA)
            elif k == 4:
                cv2.putText(
                    im,
                    txt,
                    ci,
                    int(rng.bit_generator.random_raw() % 1),  # always font 0, but draws a number
                    0.25 + s / 40,
                    col,
                    w if s > 8 else 1,
                    cv2.LINE_AA,
                )
            else:
                cv2.polylines(
                    im,
                    [cv2.boxPoints(((float(c[0]), float(c[1])), (2 * s, 2 * s * ar), float(th))).astype(np.int32)],
                    True,
                    col,
                    w,
                    cv2.LINE_AA,
                )
        f = base + (im.astype(f32) - base) * al
        f = f / 255
        if h is not None:
            f = relief(np.random.default_rng(seed), f, h)
        outs.append(f)
    return outs
