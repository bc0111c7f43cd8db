"""Write the photographs that are shown and calibrated with: ``python tools/make_photographs.py``; needs scikit-image.

All are free to copy: see mpi_vta/frontend/data/photographs/SOURCES.txt.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parents[1] / "mpi_vta" / "frontend" / "data" / "photographs"
# kind -> (quality of the JPEG, longest side): what is shown is as sharp as it came
FORMS = {"shown": (95, 640), "calibration": (88, 512)}
Box = tuple[int, int, int, int] | None  # left, top, right, bottom
# name -> (file, part of it)
SHOWN: dict[str, tuple[str, Box]] = {
    "coffee": ("coffee.png", None),
    "coffee-near": ("coffee.png", (100, 0, 600, 400)),
    "camera": ("camera.png", None),
    "camera-near": ("camera.png", (0, 0, 512, 400)),
    "hopper": ("grace_hopper.jpg", None),
    "hopper-near": ("grace_hopper.jpg", (0, 100, 512, 606)),
}
CALIBRATION: dict[str, tuple[str, Box]] = {
    "astronaut": ("astronaut.png", None),
    "astronaut-near": ("astronaut.png", (60, 0, 400, 400)),
    "cat": ("chelsea.png", None),
    "cat-near": ("chelsea.png", (60, 20, 400, 280)),
    "clock": ("clock_motion.png", None),
    "coins": ("coins.png", None),
    "rocket": ("rocket.jpg", None),
    "rocket-near": ("rocket.jpg", (180, 60, 560, 420)),
}


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None, package
    return Path(str(found.origin)).parent


def main() -> None:
    """Write both folders."""
    places = (_folder("skimage") / "data", _folder("matplotlib") / "mpl-data" / "sample_data")
    for kind, pictures in (("shown", SHOWN), ("calibration", CALIBRATION)):
        (FOLDER / kind).mkdir(parents=True, exist_ok=True)
        quality, side = FORMS[kind]
        for name, (file, box) in pictures.items():
            source = next(place / file for place in places if (place / file).exists())
            picture = Image.open(source).convert("RGB")
            picture = picture if box is None else picture.crop(box)
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            picture.save(FOLDER / kind / f"{name}.jpg", quality=quality, optimize=True)


if __name__ == "__main__":
    main()
