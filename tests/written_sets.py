"""Small data sets in the formats that the importers read, written straight from the formats' own documents."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from hypothesis import strategies as st
from PIL import Image

from chipper.formats.files import ImportOptions
from chipper.parallel.progress import Monitor

WORDS = ["RBC", "WBC", "plate-let", "зебра", "斑马", "ski-pole"]


def draw(path: Path, size=(200, 100), orientation=None) -> Path:
    """A grey image of (width, height) px, with an EXIF orientation flag if asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    extra = {}
    if orientation is not None:
        extra["exif"] = Image.Exif()
        extra["exif"][0x0112] = orientation
    Image.new("L", size, 128).save(path, **extra)
    return path


def voc_object(name="cat", box=(1, 1, 20, 30), difficult=0, more="") -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return (
        f"\n<object><name>{escape(name)}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult>{more}<bndbox>{sides}</bndbox></object>"
    )


def voc_text(objects="", size=(200, 100), filename="a.jpg") -> str:
    return (
        f"<annotation><folder>VOC2012</folder><filename>{escape(filename)}</filename>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>{objects}</annotation>"
    )


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def voc_file(folder: Path, stem: str, objects="", size=(200, 100), suffix=".jpg") -> Path:
    """An XML file and its image."""
    draw(folder / "JPEGImages" / f"{stem}{suffix}", size)
    name = f"{Path(stem).name}{suffix}"
    return write(folder / "Annotations" / f"{stem}.xml", voc_text(objects, size, name))


def run(way, *arguments, monitor=None, **options):
    """Call an importer with options by name."""
    return way(*arguments, ImportOptions(**options), monitor or Monitor())


def boxes_of(coco) -> dict[str, list[tuple[str, tuple[float, ...], int]]]:
    """By file name: (category, x1 y1 x2 y2, iscrowd) of each annotation, in their order."""
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    found = {name: [] for name in files.values()}
    for annotation in coco["annotations"]:
        x, y, w, h = annotation["bbox"]
        box = (x, y, x + w, y + h)
        found[files[annotation["image_id"]]].append((names[annotation["category_id"]], box, annotation["iscrowd"]))
    return found


@st.composite
def pixel_boxes(draw_, width, height):
    """Whole-pixel boxes x1 y1 x2 y2 inside the image, x2 and y2 exclusive."""
    x1, y1 = draw_(st.integers(0, width - 1)), draw_(st.integers(0, height - 1))
    return (x1, y1, draw_(st.integers(x1 + 1, width)), draw_(st.integers(y1 + 1, height)))


@st.composite
def pixel_sets(draw_, words=WORDS):
    """[(stem, (width, height), [(category, box, difficult), ...]), ...] with at least one object that is not difficult."""
    images = []
    for number in range(draw_(st.integers(1, 4))):
        size = draw_(st.sampled_from([(200, 100), (64, 65), (1, 1)]))
        one = st.tuples(st.sampled_from(words), pixel_boxes(*size), st.booleans())
        images.append((f"im {number}", size, draw_(st.lists(one, max_size=5))))
    images[0][2].append((words[0], (0, 0, 1, 1), False))
    return images


def expected(images, suffix=".png") -> dict[str, list[tuple[str, tuple[float, ...], int]]]:
    """What `boxes_of` must give for a `pixel_sets`."""
    return {
        f"{stem}{suffix}": [(name, tuple(map(float, box)), int(difficult)) for name, box, difficult in objects]
        for stem, _, objects in images
    }
