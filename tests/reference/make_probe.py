"""Makes tests/reference/probe/reference.json: what NumPy, SciPy and scikit-learn compute of small samples.

Run with numpy, scipy and scikit-learn installed, from anywhere:

    OMP_NUM_THREADS=1 python make_probe.py

Nothing here follows the iteration or the bases of src/probe: LogME is maximised by a general optimiser over dense matrices,
generalised cross-validation uses the hat matrix, and the classifier is scikit-learn's.
"""

import json
import math
import pathlib

import numpy as np
from scipy.optimize import minimize
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
# Added to LogME's residual, as src/probe/logme.rs says.
RESIDUAL = 1e-5


def evidence(logs, features, target):
    """Minus the log evidence per row of You et al. (2021), equation 2, for log α and log β."""
    alpha, beta = np.exp(logs)
    rows, width = features.shape
    precision = alpha * np.eye(width) + beta * features.T @ features
    mean = beta * np.linalg.solve(precision, features.T @ target)
    residual = ((features @ mean - target) ** 2).sum() + RESIDUAL
    total = (
        width / 2 * logs[0]
        + rows / 2 * logs[1]
        - beta / 2 * residual
        - alpha / 2 * mean @ mean
        - rows / 2 * math.log(2 * math.pi)
        - np.linalg.slogdet(precision)[1] / 2
    )
    return -total / rows


def logme(features, labels):
    scores = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)
        starts = [(a, b) for a in (-2.0, 1.0, 4.0) for b in (0.0, 3.0)]
        # Where features do not help, the largest evidence is at infinite α: e^20 is as good.
        options = {"method": "Nelder-Mead", "bounds": [(-20, 20), (-20, 12)]}
        options["options"] = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 20000}
        found = [minimize(evidence, start, (features, target), **options).fun for start in starts]
        scores.append(-min(found))
    return float(np.mean(scores))


def cross_validation(features, targets, penalty):
    """Golub, Heath and Wahba's error of a ridge regression with a free centre."""
    rows = len(features)
    hat = features @ np.linalg.solve(features.T @ features + penalty * np.eye(features.shape[1]), features.T)
    hat += np.full((rows, rows), 1 / rows)
    left = np.eye(rows) - hat
    return ((left @ targets) ** 2).sum() / rows / (np.trace(left) / rows) ** 2


def best_penalty(z, targets):
    penalties = [1e-6 * len(z) * 10 ** (step / 2) for step in range(21)]
    errors = [cross_validation(z, targets, penalty) for penalty in penalties]
    return penalties[int(np.argmin(errors))], errors


def left_out(features, labels):
    """Squared errors of each row under the model of all others, of features as they are with a penalty of 1 a row."""
    z = features - features.mean(0)
    targets = np.eye(labels.max() + 1)[labels]
    penalty = len(z)
    errors = []
    for row in range(len(z)):
        others = np.arange(len(z)) != row
        predicted = Ridge(alpha=penalty).fit(z[others], targets[others]).predict(z[[row]])
        errors.append(float(((predicted - targets[row]) ** 2).sum()))
    return errors


def ridge(features, labels):
    """Even rows are fitted, odd ones are held out."""
    fitted, held_out = np.arange(0, len(labels), 2), np.arange(1, len(labels), 2)
    scaler = StandardScaler().fit(features[fitted])
    z = scaler.transform(features[fitted])
    targets = np.eye(labels.max() + 1)[labels]
    best, errors = best_penalty(z, targets[fitted])
    model = Ridge(alpha=best).fit(z, targets[fitted])
    predicted = model.predict(scaler.transform(features[held_out]))
    return {
        "errors": errors,
        "penalty": best,
        "predicted": predicted.tolist(),
        "accuracy": float((predicted.argmax(1) == labels[held_out]).mean()),
    }


def sample(rng, rows, width, classes, signal, spoil=None):
    labels = rng.integers(0, classes, rows)
    features = rng.normal(size=(rows, width)) + 0.5
    features[:, :classes] += signal * np.eye(classes)[labels]
    if spoil:
        spoil(features)
    features = features.round(2).astype(np.float32).astype(float)
    symmetric = features.T @ features
    return {
        "features": features.ravel().tolist(),
        "width": width,
        "labels": labels.tolist(),
        "eigenvalues": np.linalg.eigvalsh(symmetric)[::-1].tolist(),
        "logme": logme(features, labels),
        "ridge": ridge(features, labels),
        "left_out": left_out(features, labels),
    }


def constant_and_equal(features):
    features[:, 3] = 0.3
    features[:, 4] = 2 * features[:, 5].round(2)


def language(rng):
    rows = [rng.exponential(3.0, length).astype(np.float32) for length in (3, 70, 12, 1)]
    sizes = [9, 260, 51, 4]
    first = [0, 2, 5, 63]  # tokens before the first trained one
    before = [start + np.arange(len(nats)) for start, nats in zip(first, rows)]
    bits = [nats.astype(float) / math.log(2) for nats in rows]
    every, places = np.concatenate(bits), np.concatenate(before)
    return {
        "nats": [nats.astype(float).tolist() for nats in rows],
        "before": [places.tolist() for places in before],
        "bytes": sizes,
        "bits_per_byte": float(every.sum() / sum(sizes)),
        "context": {str(least): float(every[places >= least].mean()) for least in (1, 8, 64)},
    }


rng = np.random.default_rng(16)
samples = {
    "tall": sample(rng, 48, 6, 3, 1.5),
    "wide": sample(rng, 20, 31, 2, 2.0),
    "noise": sample(rng, 40, 5, 2, 0.0),
    "constant_and_equal": sample(rng, 36, 7, 3, 1.0, constant_and_equal),
}
out = HERE / "probe"
out.mkdir(exist_ok=True)
(out / "reference.json").write_text(json.dumps({"samples": samples, "language": language(rng)}) + "\n")
