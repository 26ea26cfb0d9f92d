"""Every command line of the README and the docs runs, page by page, as it stands there.

A page's lines run one after the other in a folder that holds what a reader would have: a small drawn data set as coco.json,
val.json and their images, proposals, and what `BEFORE` says for the page. `CHIPPER_CONFIG` makes training short where a line
does not say how long it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chipper.coco.reading import read_images
from chipper.columns import Proposals
from chipper.demo.data import DemoOptions, draw_demo
from chipper.proposals.writing import write_proposals

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = "chipper|torchrun|make|pip|apt-get|source|dask|yolo"
PREFIX = re.compile(rf"^ {{4}}(?:\$ )?((?:{PROGRAMS}) .*?)(?: {{2,}}#.*)?$", re.MULTILINE)

NOT_RUN = {
    "make setup": "the tests run in what it has made",
    "make demo": "tests/demo/test_chain.py runs it",
    "chipper demo": "tests/demo/test_chain.py runs it",
    "make test": "this is it",
    "source ": "the tests run in that environment",
    "pip install ": "would change the environment of the tests",
    "apt-get install ": "would change the machine",
    "dask ": "tests/parallel/test_cluster.py and the lines below it use a scheduler and workers of their own",
    "yolo ": "ultralytics is another's program",
}
"""Beginnings of lines that are not run, and why."""

CHIPS = ["chipper build-positives coco.json", "chipper export-shards"]
RPN = [*CHIPS, "chipper train --shards --rpn-only"]
DETECTOR = [*RPN, "chipper train --shards"]
BEFORE: dict[str, list[str]] = {
    "training.md": [*CHIPS, "chipper export-shards --layout epochs"],
    "interop.md": CHIPS,
    "scaling.md": [],
    "proposals.md": DETECTOR,
    "command-line.md": [*CHIPS],
    "commands.md": RPN,
    "seeing.md": DETECTOR,
}


def lines_of(page: Path) -> list[str]:
    return [line.strip() for line in PREFIX.findall(page.read_text())]


def is_run(line: str) -> bool:
    return not line.startswith(tuple(NOT_RUN))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    draw_demo(folder / "drawn", DemoOptions(train_images=6, val_images=2))
    for name, part in (("coco", "train"), ("val", "val")):
        shutil.copy(folder / "drawn" / part / "coco.json", folder / f"{name}.json")
        for path in (folder / "drawn" / part / "images").iterdir():
            (folder / "images").mkdir(exist_ok=True)
            shutil.copy(path, folder / "images" / path.name)
    shutil.rmtree(folder / "drawn")
    shutil.copy(folder / "coco.json", folder / "annotations.json")
    images = read_images(folder / "coco.json")
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (len(images) * 300, 2))
    found = Proposals(
        np.repeat(images.image_id, 300),
        np.hstack([corners, corners + rng.uniform(8, 60, corners.shape)]),
        rng.uniform(size=len(images) * 300),
    )
    write_proposals(folder / "rpn.pkl", found, images, len(images))
    write_proposals(folder / "rpn.parquet", found, images, len(images))
    content = json.loads((folder / "val.json").read_text())
    results = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9} for a in content["annotations"]
    ]
    (folder / "detections.json").write_text(json.dumps(results))
    (folder / "fast.yaml").write_text(
        "train: {model: tiny, weights: none, max-steps: 2, batch-size: 2}\npropose: {per-scale: 20}\n"
    )
    _other_formats(folder)
    return folder


def _other_formats(folder: Path) -> None:
    """One image in each of the formats that are imported."""
    for name, images in (
        ("VOC2012", "JPEGImages"),
        ("DOTA/train", "images"),
        ("VisDrone2019-DET-train", "images"),
        ("yolo", "images/train"),
    ):
        (folder / name / images).mkdir(parents=True)
        Image.new("RGB", (100, 80)).save(folder / name / images / "a.jpg")
    for name in ("VOC2012/Annotations", "VOC2012/ImageSets/Main", "DOTA/train/labelTxt", "yolo/labels/train"):
        (folder / name).mkdir(parents=True)
    (folder / "VisDrone2019-DET-train" / "annotations").mkdir()
    box = "<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>50</xmax><ymax>50</ymax></bndbox>"
    (folder / "VOC2012" / "Annotations" / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>100</width><height>80</height><depth>3</depth></size>"
        f"<object><name>dog</name><difficult>0</difficult>{box}</object></annotation>"
    )
    (folder / "VOC2012" / "ImageSets" / "Main" / "trainval.txt").write_text("a\n")
    (folder / "DOTA" / "train" / "labelTxt" / "a.txt").write_text("10 10 50 10 50 50 10 50 ship 0\n")
    (folder / "VisDrone2019-DET-train" / "annotations" / "a.txt").write_text("10,10,40,40,1,4,0,0\n")
    (folder / "yolo" / "labels" / "train" / "a.txt").write_text("0 0.3 0.4 0.4 0.5\n")
    (folder / "data.yaml").write_text(
        f"path: {folder.name}\ntrain: yolo/images/train\nval: yolo/images/train\nnames: [dog]\n"
    )


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Callable[[], str]]:
    """Address of a dask cluster that is started when it is first asked for."""
    clusters = []

    def address() -> str:
        from distributed import LocalCluster

        if not clusters:
            clusters.append(LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"))
        return str(clusters[0].scheduler_address)

    yield address
    for cluster in clusters:
        cluster.close()


@pytest.fixture(scope="module")
def store() -> Iterator[Callable[[], dict[str, str]]]:
    """Environment of an S3 server on loopback that is started when it is first asked for."""
    servers = []

    def environment() -> dict[str, str]:
        from moto.server import ThreadedMotoServer

        if not servers:
            servers.append(ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False))
            servers[0].start()
        host, port = servers[0].get_host_and_port()
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }

    yield environment
    for server in servers:
        server.stop()


def run(folder: Path, line: str, environment: dict[str, str]) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CHIPPER")}
    path = f"{Path(sys.executable).parent}:{clean['PATH']}"
    full = {**clean, "PATH": path, "HOME": str(folder), "CHIPPER_CONFIG": str(folder / "fast.yaml"), **environment}
    done = subprocess.run(["bash", "-ec", line], cwd=folder, env=full, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_there_are_lines_and_reasons() -> None:
    lines = [line for page in PAGES for line in lines_of(page)]
    assert sum(map(is_run, lines)) > 50
    for beginning in NOT_RUN:
        assert any(line.startswith(beginning) for line in lines), f"{beginning} is in no page"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # botocore and moto
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(is_run, lines_of(page)))], ids=lambda page: page.name
)
def test_every_line_of_a_page_runs(
    page: Path, world: Path, tmp_path: Path, scheduler: Callable[[], str], store: Callable[[], dict[str, str]]
) -> None:
    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    (folder / ".local/share/bash-completion/completions").mkdir(parents=True)
    for line in BEFORE.get(page.name, []):
        run(folder, line, {})
    done = set()
    for line in filter(is_run, lines_of(page)):
        environment: dict[str, str] = {}
        if "tcp://10.0.0.1:8786" in line:
            line = line.replace("tcp://10.0.0.1:8786", scheduler())
        if "s3://" in line:
            environment = store()
            if not done & {"s3"}:
                _upload(folder / "images", environment)
                shutil.rmtree(folder / "chips")  # these lines begin a workdir of their own
                done.add("s3")
        line = line.replace("--nproc-per-node 8", "--nproc-per-node 2")
        if " train " in line and "--resume" not in line:  # each such line is a run of its own
            shutil.rmtree(
                folder / "chips" / "runs" / ("rpn" if "--rpn-only" in line else "detector"), ignore_errors=True
            )
        run(folder, line, environment)


def _upload(images: Path, environment: dict[str, str]) -> None:
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], **keys)
    client.create_bucket(Bucket="bucket")
    for path in images.iterdir():
        client.upload_file(str(path), "bucket", f"images/{path.name}")
    client.close()
