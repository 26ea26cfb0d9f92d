"""Options that several commands share, each defined once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chipper.images.options import PixelOptions
from chipper.manifest.workdir import Workdir
from chipper.mining.options import STRIDE, PositiveOptions
from chipper.mining.scales import DEFAULT_SCALES, DEFAULT_VALID_RANGES
from chipper.parallel.cluster import Cluster
from chipper.parallel.workers import Workers
from chipper.storage.locations import is_local, location


def field_option(options: type[Any], name: str, *flags: str, **settings: Any) -> Callable[[Any], Any]:
    """A click option for the field ``name`` of the dataclass ``options``, with the type, default and choices of the field.

    ``flags`` are the names on the command line, by default ``--name``; ``settings`` go to click, above all ``help``.
    """
    field = options.__dataclass_fields__[name]
    words = flags or (f"--{name.replace('_', '-')}",)
    if field.type == "bool":
        return click.option(*words, name, is_flag=True, **settings)
    kind: Any = {"int": int, "float": float, "str": str}[str(field.type).removesuffix(" | None")]
    if "choices" in field.metadata:
        kind = click.Choice(field.metadata["choices"])
    return click.option(*words, name, type=kind, **{"default": field.default, "show_default": True} | settings)


class Place(click.Path):
    """A file or folder on this machine. An empty name, which an unset shell variable gives, is refused."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; give a name", parameter, context)
        return super().convert(value, parameter, context)


class _Location(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A folder, or a URL that fsspec supports."""

    name = "location"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        if value == "":
            self.fail("it is empty; give a folder, or a URL", parameter, context)
        place = location(value) if isinstance(value, str) else value
        try:
            if is_local(place) and place.is_file():
                self.fail(f"{value} is a file; give a folder, or a URL", parameter, context)
        except OSError as error:
            self.fail(f"{value} cannot be read ({error.strerror}); give a folder, or a URL", parameter, context)
        return Path(place) if is_local(place) else place


LOCATION = _Location()


def _workdir(context: click.Context, parameter: click.Parameter, value: Path) -> Workdir:
    return Workdir(value)


def _with_shards(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.params["workdir"].shards = value


workdir_option = click.option(
    "--workdir",
    type=Place(file_okay=False, path_type=Path),
    default="chips",
    envvar="CHIPPER_WORKDIR",
    show_default=True,
    show_envvar=True,
    is_eager=True,  # options that refer to the workdir come after it
    callback=_workdir,
    help="Folder of the manifests, shards and runs.",
)
shards_option = click.option(
    "--shards",
    type=LOCATION,
    envvar="CHIPPER_SHARDS",
    show_envvar=True,
    expose_value=False,
    callback=_with_shards,
    help="Where the shards are: a folder, or a URL like s3://bucket/folder.  [default: WORKDIR/shards]",
)
image_dir_option = click.option(
    "--image-dir",
    type=LOCATION,
    envvar="CHIPPER_IMAGE_DIR",
    show_envvar=True,
    help="Folder or URL of the images; by default chipper searches beside the COCO file, then around its folder.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Check everything and show what would be written, but write nothing."
)
jobs_option = click.option(
    "--jobs",
    type=int,
    default=-1,
    show_default=True,
    help="Number of workers; -1 uses all cores. The result is always the same.",
)


def workers_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--jobs``, ``--backend`` and ``--scheduler``, which the command gets as one argument, ``workers``."""

    @click.option(
        "--backend",
        type=click.Choice(["local", "dask"]),
        default="local",
        show_default=True,
        help="Where workers run: on this machine, or on a dask cluster that sees the same files.",
    )
    @click.option(
        "--scheduler", default=None, metavar="URL", help="Address of the dask cluster, like tcp://10.0.0.1:8786."
    )
    @jobs_option
    @functools.wraps(function)
    def command(backend: str, scheduler: str | None, jobs: int, **arguments: Any) -> Any:
        if (backend == "dask") != (scheduler is not None):
            raise click.UsageError("--backend dask and --scheduler URL need each other")
        if scheduler is None:
            return function(workers=Workers(jobs), **arguments)
        for name, value in arguments.items():  # the workers have another current folder
            if isinstance(value, Path):
                arguments[name] = value.absolute()
            elif isinstance(value, Workdir):
                shards = value.shards.absolute() if is_local(value.shards) else value.shards
                arguments[name] = Workdir(value.path.absolute(), shards)
        return function(workers=Cluster(jobs, scheduler), **arguments)

    return command


_POSITIVE_OPTIONS = (
    click.option(
        "--scales",
        default=DEFAULT_SCALES,
        show_default=True,
        help="Coarse to fine: 512 is a long side in px, 1.667 a factor, 800:1280 short side:maximum long side.",
    ),
    click.option(
        "--valid-ranges",
        default=None,
        help=f"sqrt(w*h) in source px for each scale, low:high.  [default: {DEFAULT_VALID_RANGES}]",
    ),
    field_option(PositiveOptions, "chip_size", help="Side of a chip, px."),
    click.option(
        "--stride",
        default=STRIDE,
        show_default=True,
        help="Distance between candidate windows, px; 56-59 draws one value for each variant.",
    ),
    field_option(
        PositiveOptions,
        "placement",
        help="Where positive windows may be: on the grid, or with slide anywhere, which needs fewer chips.",
    ),
)


def positive_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that decide which windows become positive chips."""
    for option in reversed(_POSITIVE_OPTIONS):
        function = option(function)
    return function


def pixel_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--bands`` and ``--stretch``, which the command gets as one argument, ``pixels``."""

    @click.option(
        "--bands",
        default=None,
        metavar="N[,N,N]",
        help="Bands for red, green and blue, or one band for grey, counted from 1. Images are then read window by window.",
    )
    @click.option(
        "--stretch",
        default=None,
        help="How to map values to 8 bits: none, percentiles of each image like 2-98, or two values like 0:3000. "
        "Images are then read window by window.",
    )
    @functools.wraps(function)
    def command(bands: str | None, stretch: str | None, **arguments: Any) -> Any:
        return function(pixels=PixelOptions(bands, stretch), **arguments)

    return command


device_option = click.option("--device", default="auto", show_default=True, help='"cpu", "cuda", "cuda:1" or "auto".')
run_option = click.option(
    "--run", "run_name", default=None, metavar="NAME", help="Training run under WORKDIR/runs; the newest by default."
)
scales_option = click.option("--scales", default=None, help="Scales, coarse to fine; by default those of the training.")
valid_ranges_option = click.option(
    "--valid-ranges",
    default=None,
    help="sqrt(w*h) in source px for each scale, low:high; by default those of the training, widened.",
)


def coco_argument(function: Any) -> Any:
    """The argument COCO: the COCO file."""
    return click.argument("coco", type=Place(path_type=Path))(function)
