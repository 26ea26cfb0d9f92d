"""``python -m chipper.schemas`` prints docs/formats.md: the tables as they are defined here."""

from __future__ import annotations

from chipper.schemas import FORMAT_VERSION, TABLES

INTRODUCTION = f"""# Files and columns

Made by `python -m chipper.schemas`; a test keeps it up to date. Format version {FORMAT_VERSION}: a reader accepts any
minor version of its own major version and refuses others.

    dataset.json          format version, source file and its hash, options, categories, counts; written last
    images/ annotations/ chips/ labels/      Parquet, in parts of 10,000 consecutive images
    .workdir.json         says that chipper wrote the workdir; a copy is with shards in another place
    skipped.parquet       unused records of the COCO file and boxes that no chip covers, with reasons
    epochs/epoch-000.parquet
    shards/NAME-00007-of-00128.tar + .index.parquet + .done.json, shards/errors.parquet, shards/dataset.json (last)
                          train-index.json (for RF-DETR), epoch-000/ ... with --layout epochs
    runs/NAME/            run.json, checkpoints, metrics.jsonl, tensorboard/, evaluation.json (of `evaluate --run NAME`)
    preview/ report.html  pictures and the page of `chipper preview` and `chipper report`
    logs/ options.yaml    the log of each run, and the options of the last run of each command (for `--config`)

Every Parquet file contains the name of its table, its format version and the id of its inputs and options. A table that does
not belong to `dataset.json` is refused. Boxes are x1 y1 x2 y2, continuous, x2 and y2 exclusive.

A sample of a shard is `{{image_id:012d}}_{{scale_index}}_{{x:05d}}_{{y:05d}}.jpg`, exactly K x K px, and `.json` beside it:
`image_id, file_name, width, height, annotations` as COCO writes them (bbox xywh in chip px, category_id, iscrowd, area, id,
and segmentation and keypoints if they are kept) with `valid`, `ignore` and `visibility`, and `chip` with `chip_id,
kind, variant, scale_index, scale, x, y, content, source_box, valid_range` (chip px, null for no upper bound).
"""


def document() -> str:
    """The text of docs/formats.md."""
    lines = [INTRODUCTION]
    for table in TABLES:
        lines += [f"## {table.name}", "", table.meaning, "", "| column | type | unit | meaning |", "|---|---|---|---|"]
        for column in table.columns:
            null = ", may be null" if column.nullable else ""
            lines.append(f"| {column.name} | {column.type}{null} | {column.unit} | {column.meaning} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(document(), end="")
