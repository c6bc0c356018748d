"""Pictures as people have them, and what Pillow reads in them; writes `goldens/pictures/`.

    venv/bin/python reference/pictures.py        # needs pillow only

`cases.json` is that of `reference/pillow.py`, all with the verb `decode`. Pillow writes few of the forms that
JPEG has, so a small encoder here writes the others: any sampling, any order of scans, any colours.
"""

import binascii
import io
import json
import random
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent.parent / "goldens" / "pictures"
YCC_420 = [(2, 2), (1, 1), (1, 1)]


def photo(width, height):
    """Soft colours with edges in them: every rounding shows, and it is still small."""
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            edge = 90 if (x // 7 + y // 5) % 2 else 0
            image.putpixel((x, y), (9 * x % 256, (250 - 8 * y) % 256, (40 + edge + 3 * x) % 256))
    return image


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


# ---- JPEG


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def segments(jpeg):
    """Marker and bytes of each segment up to the pixels, then all the rest."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
        yield jpeg[at + 1], jpeg[at:end]
        at = end
    yield 0xDA, jpeg[at:]


def standard_tables():
    """The standard's codes, as Pillow writes them: {selector: {value: bits}}."""
    tables = {}
    for marker, data in segments(encoded(photo(8, 8), "JPEG")):
        if marker == 0xC4:
            counts, values, code = data[5:21], iter(data[21:]), 0
            codes = tables.setdefault(data[4], {})
            for length, count in enumerate(counts, 1):
                for _ in range(count):
                    codes[next(values)] = format(code, f"0{length}b")
                    code += 1
                code *= 2
    return tables


CODES = standard_tables()
SHORT_DHT = b"".join(d for m, d in segments(encoded(photo(8, 8), "JPEG")) if m == 0xC4)


def number(value):
    """Length and bits of a coefficient."""
    length = abs(value).bit_length()
    return length, format(value if value > 0 else value + (1 << length) - 1, f"0{length}b") if length else ""


class Jpeg:
    """A JPEG of random blocks. `scans` lists components and, if progressive, bands of coefficients."""

    def __init__(self, size, sampling, scans, head=b"", ids=(1, 2, 3, 4), bands=None, restart=0, tables=True):
        self.size, self.sampling = size, sampling
        self.most = [max(s[axis] for s in sampling) for axis in (0, 1)]
        self.units = [-(-size[axis] // (8 * self.most[axis])) for axis in (0, 1)]
        self.restart, rng = restart, random.Random(repr((size, sampling)))
        self.blocks = [self.random_blocks(rng, s) for s in sampling]
        frame = struct.pack(">BHHB", 8, size[1], size[0], len(sampling))
        for i, (h, v) in enumerate(sampling):
            frame += bytes([ids[i], h << 4 | v, min(i, 1)])
        data = b"\xff\xd8" + head
        for i in (0, 1):
            data += segment(0xDB, bytes([i, 9 + 4 * i]) + bytes(8 + i + k // 4 for k in range(63)))
        data += segment(0xC2 if bands else 0xC0, frame) + (SHORT_DHT if tables else b"")
        data += segment(0xDD, struct.pack(">H", restart)) if restart else b""
        for scan in scans:
            for first, last in bands or [(0, 63)]:
                for part in [scan] if first == 0 else [[i] for i in scan]:
                    body = bytes([len(part)]) + b"".join(bytes([ids[i], 0x11 * min(i, 1)]) for i in part)
                    data += segment(0xDA, body + bytes([first, last, 0])) + self.scan(part, first, last)
        self.bytes = data + b"\xff\xd9"

    def random_blocks(self, rng, sampling):
        rows, columns = self.units[1] * sampling[1], self.units[0] * sampling[0]
        def block():
            return [rng.randint(-60, 60)] + [rng.randint(-9, 9) if rng.random() < 8 / (k + 9) else 0 for k in range(1, 64)]
        return [[block() for _ in range(columns)] for _ in range(rows)]

    def scan(self, part, first, last):
        if len(part) == 1:
            h, v = self.sampling[part[0]]
            size = [-(-self.size[0] * h // self.most[0]), -(-self.size[1] * v // self.most[1])]
            across, down = -(-size[0] // 8), -(-size[1] // 8)
        else:
            across, down = self.units
        out, bits, last_dc = b"", "", {}
        for unit in range(across * down):
            if self.restart and unit and unit % self.restart == 0:
                out += self.packed(bits) + bytes([0xFF, 0xD0 + (unit // self.restart - 1) % 8])
                bits, last_dc = "", {}
            y, x = divmod(unit, across)
            for i in part:
                h, v = self.sampling[i] if len(part) > 1 else (1, 1)
                for row in range(y * v, y * v + v):
                    for column in range(x * h, x * h + h):
                        bits += self.block(i, self.blocks[i][row][column], last_dc, first, last)
        return out + self.packed(bits)

    @staticmethod
    def block(i, block, last_dc, first, last):
        bits, dc, ac = "", CODES[min(i, 1)], CODES[0x10 | min(i, 1)]
        if first == 0:
            length, value = number(block[0] - last_dc.get(i, 0))
            last_dc[i] = block[0]
            bits += dc[length] + value
        zeros = 0
        for k in range(max(first, 1), last + 1):
            if block[k] == 0:
                zeros += 1
                continue
            while zeros > 15:
                bits, zeros = bits + ac[0xF0], zeros - 16
            length, value = number(block[k])
            bits, zeros = bits + ac[zeros << 4 | length] + value, 0
        return bits + ac[0] if zeros and last else bits

    @staticmethod
    def packed(bits):
        bits += "1" * (-len(bits) % 8)
        return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:].replace(b"\xff", b"\xff\0")


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def jpegs():
    """Samplings in orders of scans, colours, ordinary photographs."""
    size, inner = (26, 19), [[0, 1, 2]]
    alone, backwards, odd = [[0], [1], [2]], [[2], [0], [1]], [[0, 2], [1]]
    finer = [(1, 1), (2, 2), (2, 2)]
    mixed = [(2, 2), (2, 1), (1, 2)]
    forms = {
        "420": (YCC_420, [alone, backwards, odd]),
        "422": ([(2, 1), (1, 1), (1, 1)], [inner, backwards]),
        "440": ([(1, 2), (1, 1), (1, 1)], [inner, alone]),
        "411": ([(4, 1), (1, 1), (1, 1)], [inner, alone]),
        "410": ([(4, 2), (1, 1), (1, 1)], [inner]),
        "finer": (finer, [inner, odd]),
        "mixed": (mixed, [inner, backwards]),
        "grey": ([(2, 2)], [[[0]]]),
    }
    for name, (sampling, orders) in forms.items():
        for i, order in enumerate(orders):
            yield f"{name}_{i}.jpg", Jpeg(size, sampling, order).bytes
    yield "420_restarts.jpg", Jpeg(size, YCC_420, alone, restart=1).bytes
    yield "420_bands.jpg", Jpeg(size, YCC_420, backwards, bands=[(0, 0), (6, 63), (1, 5)]).bytes
    yield "420_no_tables.jpg", Jpeg(size, YCC_420, inner, tables=False).bytes
    yield "420_narrow.jpg", Jpeg((3, 5), YCC_420, alone).bytes
    three, four = [(1, 1)] * 3, [(1, 1)] * 4
    yield "rgb_adobe.jpg", Jpeg((9, 7), three, inner, head=adobe(0)).bytes
    yield "rgb_ids.jpg", Jpeg((9, 7), three, inner, ids=b"RGB").bytes
    yield "ycc_jfif.jpg", Jpeg((9, 7), three, inner, head=JFIF + adobe(0), ids=b"RGB").bytes
    yield "ycc_zero.jpg", Jpeg((9, 7), three, inner, ids=(0, 1, 2)).bytes
    yield "cmyk_adobe.jpg", Jpeg((9, 7), four, [[0, 1, 2, 3]], head=adobe(0)).bytes
    yield "ycck_adobe.jpg", Jpeg((9, 7), [(2, 2), (1, 1), (1, 1), (2, 2)], [[3], [0, 1, 2]], head=adobe(2)).bytes
    for subsampling in (0, 1, 2):
        for progressive in (False, True):
            options = {"quality": 75, "subsampling": subsampling, "progressive": progressive}
            name = f"photo_{subsampling}_{'progressive' if progressive else 'baseline'}.jpg"
            yield name, encoded(photo(41, 30), "JPEG", **options)
    whole = encoded(photo(20, 12), "JPEG")
    yield "early_end.jpg", whole[: len(whole) - 40] + b"\xff\xd9"


# ---- orientation


def exif(value, kind=3, order="<", prefix=b""):
    """A directory of two tags; `kind` 3 is SHORT, 4 is LONG."""
    number = struct.pack(order + "I", value) if kind == 4 else struct.pack(order + "HH", value, 0)
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 2)
    tags = struct.pack(order + "HHII", 0x0100, 4, 1, 20) + struct.pack(order + "HHI", 0x0112, kind, 1) + number
    return prefix + start + tags + bytes(4)


def xmp(value, element=False, quote='"'):
    tag = f"><tiff:Orientation>{value}</tiff:Orientation></rdf:Description>"
    if not element:
        tag = f" tiff:Orientation={quote}{value}{quote}/>"
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{tag}</rdf:RDF></x:xmpmeta>'
    ).encode()


def raw_profile(name, data):
    """ImageMagick's form."""
    digits = binascii.hexlify(data).decode()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{name}\n{len(data):8}\n{lines}\n".encode()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(image, name, content, late=False):
    png = encoded(image, "PNG")
    at = len(png) - 12 if late else 33
    return png[:at] + chunk(name, content) + png[at:]


def jpeg_with(image, *notes):
    jpeg = encoded(image, "JPEG", quality=95, subsampling=0)
    return jpeg[:2] + b"".join(segment(0xE1, note) for note in notes) + jpeg[2:]


def webp_with(image, name, content):
    options = {"exif": content} if name == "EXIF" else {"xmp": content}
    return encoded(image, "WEBP", lossless=True, **options)


def turned():
    """Name, bytes, and the number that all of them carry where Pillow knows nothing of it."""
    image, prefix, space = photo(20, 12), b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
    deflated = zlib.compress
    keyword = b"XML:com.adobe.xmp\0"
    yield "exif_long.jpg", jpeg_with(image, exif(6, 4, prefix=prefix)), None
    yield "exif_bare.jpg", jpeg_with(image, exif(6, 3, ">")), 6
    yield "exif_second.jpg", jpeg_with(image, b"junk", exif(8, 3, ">", prefix)), None
    yield "exif_before_xmp.jpg", jpeg_with(image, space + xmp(8), exif(3, prefix=prefix)), None
    yield "exif_long.png", png_with(image, b"eXIf", exif(5, 4, ">")), None
    yield "exif_prefix.png", png_with(image, b"eXIf", exif(7, 4, prefix=prefix)), None
    yield "exif_late.png", png_with(image, b"eXIf", exif(2), late=True), None
    yield "exif_long.webp", webp_with(image, "EXIF", exif(8, 4)), None
    yield "exif_prefix.webp", webp_with(image, "EXIF", exif(6, 3, ">", prefix)), None
    yield "xmp_attribute.jpg", jpeg_with(image, space + xmp(6)), None
    yield "xmp_element.jpg", jpeg_with(image, space + xmp(8, element=True)), None
    yield "xmp_quote.jpg", jpeg_with(image, space + xmp(3, quote="'")), 3
    yield "xmp_attribute.png", png_with(image, b"iTXt", keyword + b"\0\0\0\0" + xmp(6)), None
    yield "xmp_deflated.png", png_with(image, b"iTXt", keyword + b"\1\0en\0x\0" + deflated(xmp(4, element=True))), None
    yield "xmp_attribute.webp", webp_with(image, "XMP", xmp(6)), None
    yield "xmp_element.webp", webp_with(image, "XMP", xmp(3, element=True)), None
    key, profile = b"Raw profile type exif\0", raw_profile("exif", exif(6, prefix=prefix))
    yield "raw_exif_text.png", png_with(image, b"tEXt", key + profile), None
    yield "raw_exif_deflated.png", png_with(image, b"zTXt", key + b"\0" + deflated(profile), late=True), None
    key, profile = b"Raw profile type APP1\0", raw_profile("generic profile", exif(8, 4, ">", prefix))
    yield "raw_app1.png", png_with(image, b"zTXt", key + b"\0" + deflated(profile)), 8
    profile = raw_profile("generic profile", space + xmp(6))
    yield "raw_app1_xmp.png", png_with(image, b"tEXt", key + profile), 6


# ---- ends, BMP


def ends():
    """Name, bytes, and the bytes of the same picture where Pillow refuses it."""
    image = photo(20, 12)
    jpeg, png = encoded(image, "JPEG"), encoded(image, "PNG")
    progressive = encoded(image, "JPEG", progressive=True)
    # As in films, with what looks like parts of JPEG.
    film = b"\0\0\0\x18ftypmp42" + bytes(range(200)) + b"\xff\xd8\xff\xda\0\x08\xff\xd9\xff\xda\xff"
    yield "film_behind.jpg", jpeg + film, None
    yield "film_behind_progressive.jpg", progressive + film, None
    yield "jpeg_behind.jpg", jpeg + jpeg_with(image, exif(6)), None
    yield "no_end.jpg", jpeg[:-2], jpeg
    yield "no_end_progressive.jpg", progressive[:-2] + b"text", progressive
    yield "no_end_zeros.jpg", jpeg[:-2] + bytes(90), None
    yield "no_end_film.jpg", jpeg[:-2] + film, jpeg
    yield "film_behind.png", png + film, None
    yield "no_end.png", png[:-12], None
    yield "no_checksum.png", png[:-16], None
    yield "no_end_text.png", png[:-12] + b"text behind", None
    gif = encoded(image.quantize(8), "GIF")
    yield "no_end.gif", gif[:-1], None
    yield "film_behind.gif", gif + film, None
    webp = encoded(image, "WEBP", lossless=True)
    yield "film_behind.webp", webp + film, None
    yield "exif_film_behind.webp", webp_with(image, "EXIF", exif(6)) + film, None
    bmp = encoded(image.crop((0, 0, 18, 5)), "BMP")
    yield "film_behind.bmp", bmp + film, None
    yield "no_filling.bmp", bmp[:-2], None


def bmp(bits, header, pixels, size, compression=0, masks=b"", palette=b""):
    info = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, 0, 2835, 2835, len(palette) // 4, 0)
    info = (info + masks).ljust(header, b"\0") + palette
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + pixels


def bmps():
    rng = random.Random(7)
    noise = lambda n: bytes(rng.randrange(256) for _ in range(n))
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    clear = b"".join(noise(3) + b"\0" for _ in range(35))
    yield "os2_24.bmp", bmp(24, 64, noise(24 * 5), (7, 5))
    yield "os2_8.bmp", bmp(8, 64, noise(8 * 5), (7, 5), palette=noise(1024))
    yield "os2_4.bmp", bmp(4, 64, noise(4 * 5), (7, 5), palette=noise(64))
    yield "os2_down.bmp", bmp(24, 64, noise(24 * 5), (7, -5))
    yield "clear_v3.bmp", bmp(32, 56, clear, (7, 5), 3, masks)
    yield "clear_v4.bmp", bmp(32, 108, clear, (7, 5), 3, masks)
    yield "clear_v5.bmp", bmp(32, 124, clear, (7, 5), 3, masks)
    yield "unused_v1.bmp", bmp(32, 40, clear, (7, 5))


def upright(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return ImageOps.exif_transpose(image).convert("RGB")


class Goldens:
    def __init__(self):
        self.cases, self.pictures = [], {}
        HERE.mkdir(parents=True, exist_ok=True)
        for old in HERE.iterdir():
            old.unlink()

    def case(self, source, data, image):
        (HERE / source).write_bytes(data)
        expected = self.pictures.setdefault((image.size, image.tobytes()), f"{source}.png")
        image.save(HERE / expected, optimize=True)
        size = {"width": image.width, "height": image.height}
        case = {"source": source, "verb": "decode", **size, "expected": expected, "tolerance": 0}
        self.cases.append(case)


def main():
    goldens = Goldens()
    for name, data in [*jpegs(), *bmps()]:
        goldens.case(name, data, upright(data))
    for name, data, orientation in turned():
        image = upright(data)
        if orientation:
            tagged = Image.Exif()
            tagged[0x0112] = orientation
            image = upright(encoded(image, "PNG", exif=tagged))
        goldens.case(name, data, image)
    for name, data, whole in ends():
        goldens.case(name, data, upright(whole or data))
    lines = ",\n".join(json.dumps(case) for case in goldens.cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
