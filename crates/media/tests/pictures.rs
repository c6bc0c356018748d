//! What decodes, what does not, and what the errors say.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use sensorium_media::{Error, ImageProcessor, Picture, Style};
use serde_json::json;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), format).expect("encodes");
    bytes
}

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(width.to_be_bytes());
    ihdr.extend(height.to_be_bytes());
    ihdr.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&ihdr);
    png.extend(crc32(&ihdr).to_be_bytes());
    png.extend(b"\0\0\0\0IEND\xae\x42\x60\x82");
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    })
}

fn colour_types(width: u32, height: u32) -> Vec<DynamicImage> {
    let rgba = DynamicImage::ImageRgba16(image::ImageBuffer::from_fn(width, height, |x, y| {
        image::Rgba([(x * 900) as u16, (y * 700) as u16, 40_000, 50_000])
    }));
    vec![
        rgba.to_luma8().into(),
        rgba.to_luma_alpha8().into(),
        rgba.to_rgb8().into(),
        rgba.to_rgba8().into(),
        rgba.to_luma16().into(),
        rgba.to_luma_alpha16().into(),
        rgba.to_rgb16().into(),
        rgba,
    ]
}

fn clip(size: u32) -> ImageProcessor {
    let settings = json!({"size": size, "crop_size": size});
    ImageProcessor::from_json(&settings, Style::Clip).expect("valid settings")
}

fn siglip(size: u32) -> ImageProcessor {
    let settings = json!({"size": {"height": size, "width": size}});
    ImageProcessor::from_json(&settings, Style::Siglip).expect("valid settings")
}

#[test]
fn thin_and_tiny_pictures_work_in_every_colour_type() {
    let edges = [1, 2, 3, 4];
    let mut sizes: Vec<(u32, u32)> = edges.iter().flat_map(|w| edges.map(|h| (*w, h))).collect();
    sizes.extend([(1, 100_000), (100_000, 1), (3, 30_000)]);
    for (width, height) in sizes {
        for image in colour_types(width, height) {
            let png = encoded(&image, ImageFormat::Png);
            let picture = Picture::decode(&png, "thin").expect("a legal picture");
            assert_eq!((picture.width, picture.height), (width, height));
        }
        let picture = Picture::filled(width, height, [10, 20, 30]);
        for processor in [clip(8), siglip(8), ImageProcessor::small()] {
            let planes = processor.process(&picture);
            let [height, width] = processor.size().expect("whole pictures");
            assert_eq!(planes.len(), 3 * (height * width) as usize);
            assert!(planes.iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn a_screenshot_of_many_screens_is_read_and_scaled() {
    let png = Picture::filled(200, 30_000, [10, 20, 30]).to_png();
    let picture = Picture::decode(&png, "scrolled").expect("few pixels, however long an edge");
    let read = |json, style| ImageProcessor::from_json(&json, style).expect("valid settings");
    for (processor, pictures) in [
        (clip(224), 1),
        (siglip(224), 1),
        (ImageProcessor::small(), 1),
        (read(json!({}), Style::Siglip2), 1),
        (read(json!({"size": {"longest_edge": 1456}}), Style::Idefics3), 5),
    ] {
        let fitted = processor.fit(&picture);
        assert_eq!(fitted.pictures.len(), pictures, "{processor:?}");
        assert!(fitted.pictures[0].pixels.chunks(3).any(|pixel| pixel == [10, 20, 30]));
    }
}

#[test]
fn transparency_is_on_white_and_sixteen_bits_become_eight() {
    let half = image::RgbaImage::from_pixel(2, 1, image::Rgba([200, 0, 0, 128]));
    let picture = Picture::decode(&encoded(&half.into(), ImageFormat::Png), "a").expect("legal");
    assert_eq!(picture.pixels, [227, 127, 127].repeat(2));
    let deep = image::ImageBuffer::from_pixel(1, 1, image::Rgb([65_535_u16, 257, 0]));
    let deep = DynamicImage::ImageRgb16(deep);
    let picture = Picture::decode(&encoded(&deep, ImageFormat::Png), "b").expect("legal");
    assert_eq!(picture.pixels, [255, 1, 0]);
}

#[test]
fn sizes_are_refused_by_the_header() {
    let refusal = |w, h| Picture::decode(&png_header(w, h), "big").expect_err("refused");
    assert!(matches!(refusal(100_000, 100_000), Error::TooLarge { what, .. } if what == "pixels"));
    assert!(matches!(refusal(8_000, 8_001), Error::TooLarge { limit: 64_000_000, .. }));
    assert!(matches!(refusal(64_000_001, 1), Error::TooLarge { limit: 64_000_000, .. }));
    assert!(matches!(refusal(u32::MAX, u32::MAX), Error::TooLarge { .. }));
    assert!(matches!(refusal(0, 1), Error::Empty { .. }));
    assert!(matches!(refusal(1, 0), Error::Empty { .. }));
    let file = vec![0_u8; (64 << 20) + 1];
    let error = Picture::decode(&file, "long").expect_err("refused");
    assert!(matches!(&error, Error::TooLarge { what, .. } if what == "bytes"), "{error}");
}

#[test]
fn other_content_is_named() {
    let foreign: [(&[u8], &str); 12] = [
        (b"%PDF-1.7 ...", "PDF"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"<?xml version='1.0'?><svg xmlns='a'/>", "SVG"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
        (b"\0\0\0\x18ftypmp42", "MP4"),
        (b"II*\0....", "TIFF"),
        (b"{\"a\": 1}", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"BM but not a bitmap", "text"),
        (b"\0\0\0", "3 zero bytes"),
        (b"\x01\xfe\x02\xff", "unknown binary"),
    ];
    for (bytes, name) in foreign {
        let error = Picture::decode(bytes, "upload").expect_err("no picture");
        let text = error.to_string();
        assert!(matches!(error, Error::NotAPicture { .. }), "{text}");
        assert!(text.contains(name), "{name}: {text}");
        assert!(text.contains("upload") && text.contains("\nhint: "), "{text}");
    }
    assert!(matches!(Picture::decode(b"", "none"), Err(Error::Empty { .. })));
}

/// What the end of a file lacks may be more than its pixels.
#[test]
fn cut_files_are_truncated_or_whole_at_every_length() {
    let image = DynamicImage::ImageRgb8(image::RgbImage::from_fn(33, 21, |x, y| {
        image::Rgb([(x * y * 7) as u8, (x * 11) as u8, (y * 13) as u8])
    }));
    for format in
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP]
    {
        let bytes = encoded(&image, format);
        let whole = Picture::decode(&bytes, "whole").expect("valid");
        for length in 1..bytes.len() {
            match Picture::decode(&bytes[..length], "cut") {
                Ok(picture) => {
                    assert!(picture == whole, "{format:?} {length}");
                    assert!(length + 24 > bytes.len(), "{format:?} {length} of {}", bytes.len());
                }
                Err(Error::Truncated { .. }) => {}
                Err(error) => assert!(length < 32, "{format:?} {length}: {error}"),
            }
        }
    }
}

#[test]
fn files_are_read_by_content() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("really_a_png.jpg");
    let picture = Picture::filled(5, 4, [1, 2, 3]);
    std::fs::write(&path, picture.to_png()).expect("writes");
    assert_eq!(Picture::read(&path).expect("content counts"), picture);
    let missing = folder.path().join("missing.png");
    assert!(matches!(Picture::read(&missing), Err(Error::Missing { .. })));
    assert!(matches!(Picture::read(folder.path()), Err(Error::Unreadable { .. })));
}

#[test]
fn compressed_metadata_and_trailing_data_are_left_alone() {
    let png = Picture::filled(3, 3, [9, 8, 7]).to_png();
    // Chunks of a kind that is never unpacked, one of them broken, before the pixels.
    let mut with_text = png[..33].to_vec();
    for name in [b"zTXt", b"iCCP", b"tEXt"] {
        with_text.extend([0, 0, 0, 4]);
        with_text.extend(name);
        with_text.extend(b"junkCRC?");
    }
    with_text.extend(&png[33..]);
    with_text.extend(b"PK\x03\x04 a polyglot");
    assert_eq!(
        Picture::decode(&with_text, "text").expect("pixels are intact").pixels,
        [9, 8, 7].repeat(9)
    );
}

#[test]
fn buffers_must_fit_their_size() {
    assert!(Picture::new(2, 2, vec![0; 12]).is_ok());
    for (width, height, length) in [(2, 2, 11), (0, 2, 0), (2, 0, 0), (u32::MAX, u32::MAX, 3)] {
        let error = Picture::new(width, height, vec![0; length]).expect_err("does not fit");
        assert!(matches!(error, Error::Pixels { .. }));
    }
}

#[test]
fn cropping_keeps_the_middle() {
    let picture = Picture::new(1, 2, vec![1, 2, 3, 4, 5, 6]).expect("fits");
    let wider = picture.centre_crop(3, 1);
    assert_eq!(wider.pixels, [0, 0, 0, 1, 2, 3, 0, 0, 0]);
    assert_eq!(picture.resize(0, 0).pixels.len(), 3);
    assert_eq!(Picture::filled(0, 0, [5; 3]).pixels, [5; 3]);
}

#[test]
fn processors_normalise() {
    let white = Picture::filled(10, 40, [255; 3]);
    let nano = ImageProcessor::small();
    assert!(nano.process(&white).iter().all(|value| *value == 1.0));
    let red = clip(8).process(&Picture::filled(9, 9, [255, 0, 0]));
    assert!((red[0] - (1.0 - 0.481_454_66) / 0.268_629_54).abs() < 1e-6);
    assert!((red[64] + 0.457_827_5 / 0.261_302_6).abs() < 1e-6);
}

fn golden(name: &str) -> Vec<u8> {
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/pictures/");
    std::fs::read(format!("{goldens}{name}")).expect("goldens are committed")
}

#[test]
fn jpegs_of_other_kinds_are_refused_by_name() {
    let jpeg = golden("420_0.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame header");
    let changed = |at: usize, byte: u8| {
        let mut bytes = jpeg.clone();
        bytes[frame + at] = byte;
        Picture::decode(&bytes, "changed").expect_err("refused")
    };
    for (at, byte, what) in [
        (1, 0xC3, "lossless"),
        (1, 0xC5, "hierarchical"),
        (1, 0xC9, "arithmetic"),
        (1, 0xCA, "arithmetic"),
        (4, 12, "8 bits"),
        (9, 2, "components"),
        (14, 0x31, "ratios"),
    ] {
        let error = changed(at, byte);
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(matches!(changed(11, 0x52), Error::Damaged { .. }));
}

#[test]
fn jpegs_cut_within_are_truncated() {
    let refused = |cut: &[u8], what: &str| match Picture::decode(cut, "cut") {
        Err(Error::Truncated { .. } | Error::Damaged { .. }) => {}
        other => panic!("{what} of {} bytes: {other:?}", cut.len()),
    };
    for name in ["420_0.jpg", "420_bands.jpg", "photo_2_progressive.jpg", "420_restarts.jpg"] {
        let jpeg = golden(name);
        for length in 3..jpeg.len() - 4 {
            refused(&jpeg[..length], name);
        }
    }
    // Another picture behind the cut is no end of this one.
    let jpeg = golden("photo_2_baseline.jpg");
    let scan = jpeg.windows(2).position(|pair| pair == [0xFF, 0xDA]).expect("a scan");
    for length in scan + 14..jpeg.len() - 4 {
        refused(&[&jpeg[..length], &jpeg].concat(), "two pictures");
    }
}

#[test]
fn pictures_of_phones_are_named_by_all_their_brands() {
    let file = |brands: &[&[u8; 4]]| {
        let mut bytes = (8 + 4 * brands.len() as u32).to_be_bytes().to_vec();
        bytes.extend(b"ftyp");
        bytes.extend(brands.iter().copied().flatten());
        bytes.extend(b"\0\0\0\x0cmetaheic");
        Picture::decode(&bytes, "phone").expect_err("refused").to_string()
    };
    let version = b"\0\0\0\0";
    for major in [b"mif1", b"msf1", b"miaf", b"heic", b"1pic"] {
        for (brand, name) in
            [(b"heic", "HEIC"), (b"heix", "HEIC"), (b"hevc", "HEIC"), (b"avif", "AVIF")]
        {
            let error = file(&[major, version, b"mif1", brand, b"miaf"]);
            let expected = format!("{name} picture, not supported\nhint: convert it");
            assert!(error.contains(&expected), "{error}");
        }
    }
    for major in [b"heic", b"heix", b"hevc", b"heim", b"hevx"] {
        assert!(file(&[major, version]).contains("HEIC picture, not supported"));
    }
    assert!(file(&[b"avis", version, b"msf1"]).contains("AVIF picture, not supported"));
    assert!(file(&[b"mif1", version, b"mif1"]).contains("HEIF picture, not supported"));
    assert!(file(&[b"isom", version, b"mp42"]).contains("an MP4 video"));
    assert!(file(&[b"isom", b"heic", b"mp42"]).contains("an MP4 video"));
}
