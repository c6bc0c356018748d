//! Broken and hostile input: no panic, and memory in proportion to what the
//! input really holds.

use std::io::{Cursor, Write};
use std::sync::Mutex;

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, RgbaImage};
use sensorium_media::{Error, ImageProcessor, Picture, Sound, Table, Tokenizer};
use sensorium_testkit::CountingAllocator;

#[global_allocator]
static COUNTING: CountingAllocator = CountingAllocator::new();

/// The tests of this file take turns, so that the peak belongs to one.
static TURN: Mutex<()> = Mutex::new(());

/// The result and how far the heap grew meanwhile.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let (result, usage) = COUNTING.count(work);
    (result, usage.peak)
}

/// The `index`-th number of a stream: SplitMix64's finaliser.
fn random(seed: u64, index: u64) -> u64 {
    let mut z =
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One to four changes: a byte, a bit, a cut, a repeated or removed stretch,
/// an extreme 32-bit number.
fn mutant(seed: &[u8], index: u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in 0..1 + random(index, 0) % 4 {
        let draw = |n| random(index, 1 + change * 8 + n);
        if bytes.is_empty() {
            break;
        }
        // Half of the changes hit the headers.
        let reach = if draw(0) % 2 == 0 { bytes.len().min(64) } else { bytes.len() };
        let at = draw(1) as usize % reach;
        let end = (at + 1 + draw(2) as usize % 24).min(bytes.len());
        match draw(3) % 7 {
            0 => bytes[at] = draw(4) as u8,
            1 => bytes[at] ^= 1 << (draw(4) % 8),
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..end),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let extreme = [0, 1, 0x7F, 0x80, 0xFF][draw(4) as usize % 5];
                bytes[at..(at + 4).min(end)].fill(extreme);
            }
            _ => {
                let piece: Vec<u8> = bytes[at..end].to_vec();
                let to = draw(5) as usize % bytes.len();
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

fn picture_seeds() -> Vec<Vec<u8>> {
    let rgba = RgbaImage::from_fn(24, 18, |x, y| {
        image::Rgba([(x * 10) as u8, (y * 13) as u8, (x * y) as u8, 255 - (x * 4) as u8])
    });
    let image = DynamicImage::ImageRgba8(rgba.clone());
    let encode = |image: DynamicImage, format| {
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), format).expect("encodes");
        bytes
    };
    let mut moving = Vec::new();
    let frames = [rgba.clone(), image.rotate180().into_rgba8()].map(Frame::new);
    GifEncoder::new(&mut moving).encode_frames(frames).expect("encodes");
    let mut seeds = vec![
        encode(image.clone(), ImageFormat::Png),
        encode(image.to_luma16().into(), ImageFormat::Png),
        encode(image.to_rgb8().into(), ImageFormat::Jpeg),
        encode(image.to_luma8().into(), ImageFormat::Jpeg),
        encode(image.clone(), ImageFormat::WebP),
        encode(image.to_rgb8().into(), ImageFormat::Bmp),
        encode(image, ImageFormat::Gif),
        moving,
    ];
    // Forms that the encoders here do not write: palettes, progressive and
    // CMYK JPEG, scans one by one, lossy and animated WebP, EXIF and XMP.
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/");
    for name in [
        "pillow/palette_clear.png",
        "pillow/bilevel.png",
        "pillow/turned.png",
        "pillow/progressive.jpg",
        "pillow/cmyk.jpg",
        "pillow/turned_6.jpg",
        "pillow/lossy.webp",
        "pillow/moving.webp",
        "pillow/turned.webp",
        "pillow/clear.gif",
        "pillow/grey.bmp",
        "pictures/420_1.jpg",
        "pictures/420_bands.jpg",
        "pictures/420_restarts.jpg",
        "pictures/photo_2_progressive.jpg",
        "pictures/ycck_adobe.jpg",
        "pictures/xmp_element.jpg",
        "pictures/raw_exif_deflated.png",
        "pictures/xmp_deflated.png",
        "pictures/exif_film_behind.webp",
        "pictures/os2_8.bmp",
        "pictures/clear_v4.bmp",
    ] {
        seeds.push(std::fs::read(format!("{goldens}{name}")).expect("goldens are committed"));
    }
    seeds
}

const MIB: usize = 1 << 20;

/// Heap that a result may have cost.
fn allowance(bytes: &[u8], result: &Result<Picture, Error>) -> usize {
    match result {
        Ok(picture) => 2 * MIB + 16 * bytes.len() + 16 * picture.pixels.len(),
        // Refused by the first bytes: nothing was decoded.
        Err(Error::TooLarge { what, .. }) if what == "pixels" => MIB,
        Err(Error::Empty { .. } | Error::NotAPicture { .. }) => MIB,
        Err(_) => 512 * MIB,
    }
}

#[test]
fn mutated_pictures_neither_panic_nor_swell() {
    let _turn = TURN.lock();
    let seeds = picture_seeds();
    let mut good = 0;
    let total = 10_000;
    for index in 0..total {
        let seed = &seeds[index as usize % seeds.len()];
        let bytes = mutant(seed, index);
        let (result, heap) = measured(|| Picture::decode(&bytes, "mutant"));
        let allowed = allowance(&bytes, &result);
        assert!(heap <= allowed, "mutant {index}: {heap} bytes of heap, {result:?}");
        good += u64::from(result.is_ok());
    }
    // Both outcomes must be exercised.
    assert!(good > total / 20 && good < total - total / 20, "{good} of {total} decoded");
}

#[test]
fn every_cut_of_every_seed_is_an_error_or_a_picture() {
    let _turn = TURN.lock();
    for seed in picture_seeds() {
        for length in 0..seed.len().min(400) {
            let (result, heap) = measured(|| Picture::decode(&seed[..length], "cut"));
            assert!(heap <= 4 * MIB, "{length}: {heap} bytes, {result:?}");
        }
    }
}

#[test]
fn mutated_tokenizers_neither_panic_nor_swell() {
    let _turn = TURN.lock();
    let texts = (0..40).map(|i| format!("the cat and the hat number {i}"));
    let tok = Tokenizer::train(texts, 520).expect("trains");
    let seed = tok.to_bytes().expect("writes");
    // A third of the mutants change anything, a third the vocabulary and
    // merges, a third the merges.
    let text = std::str::from_utf8(&seed).expect("JSON is UTF-8");
    let start = |key| text.find(key).expect("the document has the key");
    let starts = [0, start("\"vocab\""), start("\"merges\"")];
    // The library's panics become errors; a hook that prints where they were takes memory of its own.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let mut good = 0;
    for index in 0..4_050 {
        let bytes = mutant_after(starts[index as usize % 3], &seed, index);
        let (result, heap) = measured(|| Tokenizer::from_bytes(&bytes));
        assert!(heap <= 2 * MIB + 32 * bytes.len(), "mutant {index}: {heap} bytes");
        if let Ok(tok) = result {
            good += 1;
            let ids = tok.encode("the hat <|user|> 12\n日").unwrap_or_default();
            assert!(ids.iter().all(|id| (*id as usize) < tok.vocabulary()));
            let _ = tok.decode(&ids);
        }
    }
    std::panic::set_hook(hook);
    assert!(good < 4_000, "{good} mutants were accepted");
}

/// A mutant that leaves the first `from` bytes alone.
fn mutant_after(from: usize, seed: &[u8], index: u64) -> Vec<u8> {
    let mut bytes = seed[..from].to_vec();
    bytes.extend(mutant(&seed[from..], index));
    bytes
}

#[test]
fn a_bomb_costs_less_than_a_mebibyte() {
    let _turn = TURN.lock();
    let mut png =
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x06\0\0\0".to_vec();
    png.extend([0; 32]);
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend(100_000_u32.to_le_bytes());
    bmp.extend((-100_000_i32).to_le_bytes());
    bmp.extend([1, 0, 24, 0]);
    let gif = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;".to_vec();
    let mut webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0".to_vec();
    webp.extend([0xFF; 6]);
    let jpeg =
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x11\0\x02\x11\0\x03\x11\0".to_vec();
    for bytes in [png, bmp, gif, webp, jpeg] {
        let (result, heap) = measured(|| Picture::decode(&bytes, "bomb"));
        assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
        assert!(heap < MIB, "{heap} bytes of heap");
    }
}

/// A few bytes for each scan, forty thousand blocks in it.
#[test]
fn a_jpeg_of_a_thousand_scans_is_refused() {
    let _turn = TURN.lock();
    let segment = |marker: u8, body: &[u8]| {
        let length = (body.len() as u16 + 2).to_be_bytes();
        [&[0xFF, marker], &length[..], body].concat()
    };
    let jpeg = |scans: usize| {
        // The only code is one bit: no difference, or 16384 blocks without coefficients.
        let table = |class: u8, value: u8| {
            let counts = [[1].as_slice(), &[0; 15]].concat();
            segment(0xC4, &[&[class], counts.as_slice(), &[value]].concat())
        };
        let mut bytes = vec![0xFF, 0xD8];
        bytes.extend(segment(0xDB, &[0; 65]));
        bytes.extend(segment(0xC2, &[8, 6, 0x40, 6, 0x40, 1, 1, 0x11, 0]));
        bytes.extend([table(0, 0), table(0x10, 0xE0)].concat());
        bytes.extend(segment(0xDA, &[1, 1, 0, 0, 0, 0]));
        bytes.resize(bytes.len() + 5_000, 0);
        for _ in 0..scans {
            bytes.extend(segment(0xDA, &[1, 1, 0, 1, 63, 0x21]));
            bytes.resize(bytes.len() + 6, 0);
        }
        bytes.extend([0xFF, 0xD9]);
        bytes
    };
    assert!(Picture::decode(&jpeg(1), "one").is_ok());
    let refused = Picture::decode(&jpeg(1000), "thousand");
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
}

#[test]
fn the_longest_edge_costs_no_more_than_its_pixels() {
    let _turn = TURN.lock();
    let processor = ImageProcessor::small();
    for (width, height) in [(1, 8_000_000), (8_000_000, 1)] {
        let picture = Picture::filled(width, height, [1, 2, 3]);
        let (pictures, heap) = measured(|| processor.fit(&picture).pictures);
        assert_eq!(pictures.len(), 1);
        assert!(heap < picture.pixels.len() + 8 * MIB, "{heap} bytes of heap");
    }
}

#[test]
fn unpacked_metadata_is_never_kept() {
    let _turn = TURN.lock();
    // 4 MiB of an opaque profile before the pixels costs one copy at most.
    let png = Picture::filled(3, 3, [9, 8, 7]).to_png();
    let mut bytes = png[..33].to_vec();
    bytes.extend((4 * MIB as u32).to_be_bytes());
    bytes.extend(b"iCCP");
    bytes.resize(bytes.len() + 4 * MIB + 4, 7);
    bytes.extend(&png[33..]);
    let (result, heap) = measured(|| Picture::decode(&bytes, "profile"));
    assert!(result.is_ok(), "{result:?}");
    assert!(heap < MIB, "{heap} bytes of heap");
    // A thousand texts that may tell of the orientation, and unpack to 4 MiB each.
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b'0'; 4 * MIB]).expect("memory takes every write");
    let text = [b"Raw profile type exif\0\0", packed.finish().expect("packs").as_slice()].concat();
    let mut bytes = png[..33].to_vec();
    for _ in 0..1000 {
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(b"zTXt");
        bytes.extend(&text);
        bytes.extend([0; 4]);
    }
    bytes.extend(&png[33..]);
    let (result, heap) = measured(|| Picture::decode(&bytes, "texts"));
    assert!(result.is_ok(), "{result:?}");
    assert!(heap < 8 * MIB, "{heap} bytes of heap");
}

fn sound_seeds() -> Vec<Vec<u8>> {
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/sound/");
    let names = [
        "pcm_u8.wav",
        "pcm_24.wav",
        "float.wav",
        "extensible.wav",
        "mono.flac",
        "stereo.flac",
        "mono.ogg",
        "stereo.ogg",
        "mono.mp3",
        "stereo.mp3",
        "mono.aac",
        "stereo.m4a",
        "rf64.wav",
        "pcm_24.aiff",
        "float.aifc",
        "pcm_16.caf",
        "alac.caf",
        "alac.m4a",
        "fragments.m4a",
        "opus_mono.ogg",
        "opus_surround.ogg",
        "opus.webm",
        "opus.mp4",
        "vorbis.webm",
        "flac.mkv",
        "aac.mkv",
        "pcm_24.au",
        "ulaw.caf",
        "ima.wav",
        "ms.wav",
        "pcm.mov",
    ];
    names
        .map(|name| std::fs::read(format!("{goldens}{name}")).expect("goldens are committed"))
        .into()
}

#[test]
fn mutated_sounds_neither_panic_nor_swell() {
    let _turn = TURN.lock();
    let seeds = sound_seeds();
    let mut good = 0;
    let total = 12_000;
    for index in 0..total {
        let seed = &seeds[index as usize % seeds.len()];
        let bytes = mutant(seed, index);
        let (result, heap) = measured(|| Sound::decode(&bytes, "mutant"));
        let samples = result.as_ref().map_or(0, |sound| sound.samples.len());
        let allowed = 16 * MIB + 16 * bytes.len() + 16 * samples;
        assert!(heap <= allowed, "mutant {index}: {heap} bytes of heap, {:?}", result.err());
        good += u64::from(result.is_ok());
    }
    // Both outcomes must be exercised.
    assert!(good > total / 20 && good < total - total / 20, "{good} of {total} decoded");
}

#[test]
fn mutated_tables_neither_panic_nor_swell() {
    let _turn = TURN.lock();
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/table/");
    let names = [
        "comma.csv",
        "tab.tsv",
        "wide.csv",
        "lines.jsonl",
        "sheet.xlsx",
        "snappy.parquet",
        "zstd.parquet",
    ];
    let seeds =
        names.map(|name| std::fs::read(format!("{goldens}{name}")).expect("goldens are committed"));
    let mut good = 0;
    let total = 12_000;
    for index in 0..total {
        let seed = &seeds[index as usize % seeds.len()];
        let bytes = mutant(seed, index);
        let (result, heap) = measured(|| Table::decode(&bytes, "mutant"));
        let cells = result.as_ref().map_or(0, |table| table.rows.len() * table.schema.len());
        let allowed = 16 * MIB + 256 * (bytes.len() + cells);
        assert!(heap <= allowed, "mutant {index}: {heap} bytes of heap, {:?}", result.err());
        good += u64::from(result.is_ok());
    }
    // Both outcomes must be exercised.
    assert!(good > total / 20 && good < total - total / 20, "{good} of {total} decoded");
}
