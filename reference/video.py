"""Short videos as Pillow and FFmpeg write and read them. Writes goldens/video.

    venv/bin/pip install pillow av numpy
    venv/bin/python reference/video.py

`cases.json` lists files: `{"file", "frames", "seconds", "duration", "tolerance"}`: the frames that are
taken when so many are asked for evenly, and when they begin. `<file>.png` has these frames one below the
other, as Pillow's or FFmpeg's decoder gives them.
"""

import json
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageSequence

HERE = Path(__file__).resolve().parent.parent / "goldens" / "video"
WIDTH, HEIGHT, FRAMES = 48, 32, 12


def scene(i, mode="RGB"):
    """A ball that rolls to the right, and a square that stays."""
    ground = (250, 248, 240) if mode == "RGB" else (0, 0, 0, 0)
    picture = Image.new(mode, (WIDTH, HEIGHT), ground)
    draw = ImageDraw.Draw(picture)
    draw.ellipse([3 * i, 8, 3 * i + 12, 20], fill=(200, 30, 20))
    draw.rectangle([40, 24, 46, 30], fill=(20, 60, 200))
    return picture


def white(picture):
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB")


class Goldens:
    def __init__(self):
        self.cases = []
        HERE.mkdir(parents=True, exist_ok=True)
        for old in HERE.iterdir():
            old.unlink()

    def case(self, name, frames, begins, duration, tolerance, wanted=5):
        chosen = np.unique(np.linspace(0, len(frames) - 1, min(wanted, len(frames)), dtype=int))
        rows = np.concatenate([np.asarray(frames[i]) for i in chosen])
        Image.fromarray(rows).save(HERE / f"{name}.png", optimize=True)
        self.cases.append({"file": name, "frames": wanted, "seconds": [float(begins[i]) for i in chosen],
                           "duration": float(duration), "tolerance": tolerance})

    def animated(self, name, mode, milliseconds, tolerance=0, **options):
        first, *others = [scene(i, mode) for i in range(FRAMES)]
        first.save(HERE / name, save_all=True, append_images=others, duration=milliseconds, loop=0, **options)
        with Image.open(HERE / name) as file:
            frames = [white(frame) for frame in ImageSequence.Iterator(file)]
        assert len(frames) == FRAMES
        begins = np.concatenate([[0], np.cumsum(milliseconds)]) / 1e3
        self.case(name, frames, begins, begins[-1], tolerance)

    def film(self, name, container, rate=8, colours=None, sound=False, **options):
        with av.open(str(HERE / name), "w", format=container) as out:
            stream = out.add_stream("libx264", rate=rate, options={"crf": "12", **options})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            if colours:
                context = stream.codec_context
                context.colorspace, context.color_range, context.color_primaries, context.color_trc = colours
            if sound:
                audio = out.add_stream("aac", rate=8000, layout="mono")
                tone = np.sin(np.arange(12000) / 4)[None].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
                frame.sample_rate = 8000
            for i in range(FRAMES):
                picture = av.VideoFrame.from_image(scene(i))
                if colours:
                    picture = picture.reformat(format="yuv420p", dst_colorspace=colours[0],
                                               dst_color_range=colours[1])
                out.mux(stream.encode(picture))
            out.mux(stream.encode())
            if sound:
                out.mux(audio.encode(frame))
                out.mux(audio.encode())
        self.decoded(name, rate, colours)

    def decoded(self, name, rate, colours=None):
        planes = {} if not colours else {"src_colorspace": colours[0], "src_color_range": colours[1]}
        with av.open(str(HERE / name)) as file:
            frames = [frame.to_ndarray(format="rgb24", interpolation="POINT", **planes)
                      for frame in file.decode(video=0)]
        assert len(frames) == FRAMES, len(frames)
        # Colours are rounded once more on the way that swscale takes.
        self.case(name, frames, np.arange(FRAMES) / rate, FRAMES / rate, 3)


def main():
    goldens = Goldens()
    goldens.animated("even.gif", "RGB", [250] * FRAMES)
    goldens.animated("uneven.gif", "RGB", [100 + 50 * (i % 3) for i in range(FRAMES)])
    goldens.animated("clear.png", "RGBA", [250] * FRAMES, blend=0, disposal=1)
    goldens.animated("lossless.webp", "RGB", [80] * FRAMES, tolerance=1, lossless=True)
    goldens.film("baseline.mp4", "mp4", profile="baseline", bf="0")
    goldens.film("reordered.mp4", "mp4", profile="main", bf="3", g="12", sound=True)
    goldens.film("high.mov", "mov", profile="high", bf="2", rate=25)
    goldens.film("film.mkv", "matroska", bf="0", g="4")
    goldens.film("bt709.mp4", "mp4", bf="0", colours=(1, 1, 1, 1))
    goldens.film("full.mp4", "mp4", bf="0", colours=(5, 2, 5, 6))
    (HERE / "cases.json").write_text(json.dumps(goldens.cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
