//! Failures as a page to look at: one HTML file with its pictures inside.

use std::fmt::Write;

use sensorium_media::Picture;

use crate::own::{OwnReport, Scored};

/// Longest side of a picture on the page.
const SIDE: u32 = 320;

/// The page of these failures; `picture` gives an example's picture by its number, where it has one.
pub fn page(
    report: &OwnReport,
    failures: &[&Scored],
    picture: &dyn Fn(u64) -> Option<Picture>,
) -> String {
    let title = format!("{} of {}: failures", escaped(&report.report.name), escaped(&report.model));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body {{ font: 16px sans-serif; max-width: 60em; margin: 2em auto }} \
         article {{ display: flex; gap: 1em; border-top: 1px solid #ccc; padding: 1em 0 }} \
         p {{ margin: .3em 0 }}</style>\n<h1>{title}</h1>\n<p>{}: the {} worst of {} examples.</p>\n",
        escaped(&report.report.data),
        failures.len(),
        report.examples.len()
    );
    for failure in failures {
        page += "<article>\n";
        if let Some(picture) = picture(failure.index) {
            let png = base64(&small(&picture).to_png());
            // Writing to a string does not fail.
            let _ = writeln!(page, "<div><img alt=\"\" src=\"data:image/png;base64,{png}\"></div>");
        }
        let _ = writeln!(
            page,
            "<div><p><b>{}</b> (worth {:.3})</p><p>expected: {}</p><p>got: {}</p></div>\n</article>",
            escaped(&failure.id),
            failure.worth,
            escaped(&failure.expected),
            escaped(&failure.got)
        );
    }
    page
}

fn small(picture: &Picture) -> Picture {
    let (width, height) = (picture.width, picture.height);
    let longest = width.max(height);
    if longest <= SIDE {
        return picture.clone();
    }
    let side = |x: u32| (u64::from(x) * u64::from(SIDE) / u64::from(longest)).max(1) as u32;
    picture.resize(side(width), side(height))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let at = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > three.len() { '=' } else { char::from(DIGITS[at as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_rfc_4648_has_them() {
        for (bytes, wanted) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), wanted);
        }
    }

    #[test]
    fn names_from_anywhere_are_no_markup() {
        assert_eq!(escaped("<b a=\"1\"> & </b>"), "&lt;b a=&quot;1&quot;&gt; &amp; &lt;/b&gt;");
        let wide = Picture::filled(640, 2, [1, 2, 3]);
        assert_eq!((small(&wide).width, small(&wide).height), (320, 1));
    }
}
