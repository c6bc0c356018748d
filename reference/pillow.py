"""Pictures as Pillow decodes, scales and crops them; writes `goldens/pillow/`.

    venv/bin/python reference/pillow.py        # needs pillow only

CLIP and LLaVA were trained on pictures that Pillow scaled, so its rounding is part of them.
`cases.json` lists what was done: `{"source", "verb", "width", "height", "expected", "tolerance"}`
with verbs `decode` (upright, on white), `resize` (bicubic) and `clip` (shortest edge to `width`,
then the middle, as torchvision).
"""

import json
import random
from pathlib import Path

from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent.parent / "goldens" / "pillow"
ORIENTATION = 0x0112


def noise(width, height, seed):
    """The worst case for rounding: every tap matters."""
    rng = random.Random(seed)
    data = bytes(rng.randrange(256) for _ in range(width * height * 3))
    return Image.frombytes("RGB", (width, height), data)


def edges(width, height):
    """Black and white stripes under a gradient: the cubic overshoots and is clipped."""
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            stripe = 255 if (x // 3 + y // 5) % 2 else 0
            image.putpixel((x, y), (stripe, 255 * x // max(width - 1, 1), 255 - stripe))
    return image


def blocks():
    """Flat 8x8 blocks, all different: a JPEG of it survives every decoder alike."""
    image = Image.new("RGB", (24, 16))
    for y in range(16):
        for x in range(24):
            block = (x // 8) + 3 * (y // 8)
            image.putpixel((x, y), (40 * block + 20, 230 - 35 * block, (90 * block) % 200 + 20))
    return image


def on_white(image):
    rgba = ImageOps.exif_transpose(image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def bicubic(image, width, height):
    """Across, then down: the order of every Pillow before 13, with which the models were trained.
    Pillow 13 goes down first when that saves work, and rounds otherwise. One axis at a time asks
    both for the same."""
    across = image.resize((width, image.height), Image.BICUBIC)
    return across.resize((width, height), Image.BICUBIC)


def clip(image, size):
    width, height = image.size
    short = min(width, height)
    scaled = bicubic(image, size * width // short, size * height // short)
    left = int(round((scaled.width - size) / 2.0))
    top = int(round((scaled.height - size) / 2.0))
    return scaled.crop((left, top, left + size, top + size))


class Goldens:
    def __init__(self):
        self.cases = []
        HERE.mkdir(parents=True, exist_ok=True)
        for old in HERE.iterdir():
            old.unlink()

    def case(self, source, verb, image, tolerance=0):
        expected = f"{Path(source).stem}.{verb}.{image.width}x{image.height}.png"
        image.save(HERE / expected, optimize=True)
        size = {"width": image.width, "height": image.height}
        case = {"source": source, "verb": verb, **size, "expected": expected}
        self.cases.append({**case, "tolerance": tolerance})

    def decode(self, name, image, tolerance=0, **options):
        image.save(HERE / name, **options)
        with Image.open(HERE / name) as again:
            self.case(name, "decode", on_white(again), tolerance)


def scaled(goldens):
    sources = {"noise": noise(37, 29, 1), "edges": edges(40, 23), "tall": noise(3, 97, 2)}
    sizes = [(37, 29), (16, 16), (96, 96), (7, 50), (61, 5), (1, 1), (38, 29), (37, 30)]
    for name, image in sources.items():
        image.save(HERE / f"{name}.png", optimize=True)
        for size in sizes:
            goldens.case(f"{name}.png", "resize", bicubic(image, *size))
        for size in (15, 16, 32):
            goldens.case(f"{name}.png", "clip", clip(image, size))


def decoded(goldens):
    rgb = noise(9, 7, 3)
    alpha = noise(9, 7, 4).getchannel("G")
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    grey = rgb.convert("L")
    grey_alpha = Image.merge("LA", (grey, alpha))
    palette = blocks().quantize(6)
    goldens.decode("rgba.png", rgba)
    goldens.decode("grey.png", grey)
    goldens.decode("grey_alpha.png", grey_alpha)
    goldens.decode("bilevel.png", grey.convert("1"))
    goldens.decode("palette.png", palette)
    goldens.decode("palette_clear.png", palette, transparency=2)
    goldens.decode("still.gif", palette)
    goldens.decode("clear.gif", palette, transparency=2)
    goldens.decode("rgb.bmp", rgb)
    goldens.decode("grey.bmp", grey)
    goldens.decode("lossless.webp", rgba, lossless=True, exact=True)
    goldens.decode("lossy.webp", blocks(), tolerance=3, quality=90)
    goldens.decode("baseline.jpg", blocks(), tolerance=2, quality=95, subsampling=0)
    goldens.decode("progressive.jpg", blocks(), 2, quality=95, subsampling=0, progressive=True)
    goldens.decode("grey.jpg", blocks().convert("L"), tolerance=2, quality=95)
    goldens.decode("cmyk.jpg", blocks().convert("CMYK"), tolerance=3, quality=95, subsampling=0)
    frames = [blocks(), noise(24, 16, 5)]
    goldens.decode("moving.gif", frames[0].quantize(6), save_all=True, append_images=[frames[1].quantize(16)])
    goldens.decode("moving.webp", frames[0], save_all=True, append_images=[frames[1]], lossless=True)
    for orientation in range(1, 10):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        goldens.decode(f"turned_{orientation}.jpg", blocks(), 2, quality=95, subsampling=0, exif=exif)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    goldens.decode("turned.png", rgb, exif=exif)
    goldens.decode("turned.webp", rgb, lossless=True, exif=exif)


def main():
    goldens = Goldens()
    scaled(goldens)
    decoded(goldens)
    lines = ",\n".join(json.dumps(case) for case in goldens.cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
