"""The proposal reader, pickles, results and Parquet: what it accepts are rows of finite or left-out numbers, image by image."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np

from chipper.columns import Images, Proposals
from chipper.errors import ProposalError
from chipper.mining.negatives import best_proposals
from chipper.mining.options import NegativeOptions
from chipper.proposals.files import open_proposals
from chipper.proposals.writing import write_parquet

_FOLDER = tempfile.TemporaryDirectory(prefix="chipper-fuzz-")
_ENDINGS = (".pkl", ".json", ".parquet")
_NAMES = np.array(["a.jpg", "b.jpg"], dtype=object)
IMAGES = Images(np.array([5, 9]), np.array([0, 1]), _NAMES, np.array([64, 100]), np.array([48, 80]))
BOXES = np.array([[1, 2, 30, 40, 0.9], [5, 5, 20, 20, 0.1]], np.float32)


def seeds() -> list[bytes]:
    """The first byte chooses the format."""
    found = [b"\0" + pickle.dumps([BOXES, BOXES[:, :4]], protocol) for protocol in (0, 2, 4, 5)]
    found += [
        b"\0" + pickle.dumps({5: BOXES.tolist(), "9": BOXES.astype(">f8")}, 2),
        b"\0" + pickle.dumps([None, BOXES[:0]]),
    ]
    rows = [{"image_id": i, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5} for i in (5, 9)]
    found.append(b"\1" + json.dumps(rows).encode())
    path = Path(_FOLDER.name) / "seed.parquet"
    write_parquet(path, Proposals(np.array([5, 9]), BOXES[:, :4].astype(np.float64), BOXES[:, 4].astype(np.float64)))
    found.append(b"\2" + path.read_bytes())
    return found


def target(data: bytes) -> None:
    """Read ``data`` as proposals for two images."""
    if not data:
        return
    path = Path(_FOLDER.name) / f"rpn{_ENDINGS[data[0] % len(_ENDINGS)]}"
    path.write_bytes(data[1:])
    try:
        found = open_proposals(path, IMAGES.image_id, IMAGES.position, len(IMAGES)).of(IMAGES)
    except ProposalError as error:
        assert "\n" not in str(error)
        return
    assert found.box.shape == (len(found), 4)
    assert np.isin(found.image_id, IMAGES.image_id).all()
    best = best_proposals(found, IMAGES, NegativeOptions())
    assert np.isfinite(best.box).all()
    assert np.isfinite(best.score).all()
    assert (best.box[:, 2:] > best.box[:, :2]).all()
    assert (best.box[:, :2] >= 0).all()
