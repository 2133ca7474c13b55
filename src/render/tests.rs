//! Colours against arithmetic in R, G, B; drawings by the pixels that they touch.

use proptest::prelude::*;

use super::*;
use crate::media::{Color, HostPicture, Matrix, Yuv420};

const FULL_601: Color = Color { matrix: Matrix::Bt601, full_range: true };

/// [`super::annotate`] of a picture in host memory.
fn annotate(surface: &Surface, labels: &[Label], max_width_px: Option<u32>) -> Picture {
    super::annotate(surface, labels, max_width_px).unwrap()
}

/// [`super::crop`] of a picture in host memory.
fn crop(surface: &Surface, bbox: &BBox, margin: f32) -> Option<Picture> {
    super::crop(surface, bbox, margin).unwrap()
}

/// A frame of one colour, with padded rows.
fn flat(size_px: (u32, u32), [y, u, v]: [u8; 3], color: Color) -> Surface {
    let (stride, chroma_stride) = (size_px.0 as usize + 5, size_px.0.div_ceil(2) as usize + 3);
    let (rows, chroma_rows) = (size_px.1 as usize, size_px.1.div_ceil(2) as usize);
    let planes =
        [vec![y; stride * rows], vec![u; chroma_stride * chroma_rows], vec![v; chroma_stride * chroma_rows]];
    let strides = [stride, chroma_stride, chroma_stride];
    Surface::Host(HostPicture::from_planes(size_px, planes, strides, color).unwrap())
}

fn bbox(x1: f32, y1: f32, x2: f32, y2: f32) -> BBox {
    BBox { x1, y1, x2, y2 }
}

fn at(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let rgb = encode::rgb(picture);
    let from = (y * picture.width_px() as usize + x) * 3;
    [rgb[from], rgb[from + 1], rgb[from + 2]]
}

/// The slow twin: the frame's colour in R, G, B, by the textbook.
fn textbook_rgb([y, u, v]: [u8; 3], color: Color) -> [f64; 3] {
    let (kr, kb) = if color.matrix == Matrix::Bt601 { (0.299, 0.114) } else { (0.2126, 0.0722) };
    let (y, u, v) = (f64::from(y), f64::from(u) - 128.0, f64::from(v) - 128.0);
    let (y, u, v) = if color.full_range {
        (y, u, v)
    } else {
        ((y - 16.0) * 255.0 / 219.0, u * 255.0 / 224.0, v * 255.0 / 224.0)
    };
    let (red, blue) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
    [red, (y - kr * red - kb * blue) / (1.0 - kr - kb), blue]
}

/// A colour as a camera would code it.
fn coded([red, green, blue]: [u8; 3], color: Color) -> [u8; 3] {
    let (kr, kb) = if color.matrix == Matrix::Bt601 { (0.299, 0.114) } else { (0.2126, 0.0722) };
    let (red, green, blue) = (f64::from(red), f64::from(green), f64::from(blue));
    let y = kr * red + (1.0 - kr - kb) * green + kb * blue;
    let (u, v) = ((blue - y) / (2.0 * (1.0 - kb)), (red - y) / (2.0 * (1.0 - kr)));
    let (y, u, v) = if color.full_range {
        (y, u, v)
    } else {
        (y * 219.0 / 255.0 + 16.0, u * 224.0 / 255.0, v * 224.0 / 255.0)
    };
    [y, u + 128.0, v + 128.0].map(|value| value.round().clamp(0.0, 255.0) as u8)
}

proptest! {
    /// Colours that exist in R, G, B come out as they went in, whatever their coding.
    #[test]
    fn colours_survive_any_coding(
        rgb in any::<[u8; 3]>(), bt709 in any::<bool>(), full_range in any::<bool>(),
        size_px in (1..9_u32, 1..9_u32),
    ) {
        let color = Color { matrix: if bt709 { Matrix::Bt709 } else { Matrix::Bt601 }, full_range };
        let yuv = coded(rgb, color);
        let expected = textbook_rgb(yuv, color).map(|channel| channel.clamp(0.0, 255.0));
        let picture = annotate(&flat(size_px, yuv, color), &[], None);
        let seen = at(&picture, size_px.0 as usize - 1, size_px.1 as usize - 1);
        for (seen, expected) in seen.iter().zip(expected) {
            prop_assert!((f64::from(*seen) - expected).abs() <= 3.0, "{seen} is not {expected}");
        }
    }

    /// Whatever the box, the size and the text: it draws inside the picture or not at all.
    #[test]
    fn no_box_is_too_strange(
        size_px in (1..80_u32, 1..80_u32),
        edges in proptest::array::uniform4(-1e6..1e6_f32),
        text in "\\PC{0,60}",
        max_width_px in proptest::option::of(0..100_u32),
    ) {
        let bbox = bbox(edges[0].min(edges[1]), edges[2].min(edges[3]), edges[0].max(edges[1]), edges[2].max(edges[3]));
        let label = Label { bbox, text, color: [255, 0, 0] };
        let surface = flat(size_px, [50, 128, 128], FULL_601);
        let picture = annotate(&surface, &[label], max_width_px);
        prop_assert!(picture.width_px() >= 1 && picture.width_px() <= size_px.0);
        let part = crop(&surface, &bbox, 0.1);
        prop_assert!(part.is_none_or(|part| part.width_px() <= size_px.0 && part.height_px() <= size_px.1));
    }
}

#[test]
fn a_box_is_drawn_on_its_edges_and_nowhere_else() {
    let surface = flat((200, 100), [100, 128, 128], FULL_601);
    let label = Label { bbox: bbox(50.0, 40.0, 150.0, 90.0), text: String::new(), color: [255, 0, 0] };
    let picture = annotate(&surface, &[label], None);
    let red = |x, y| at(&picture, x, y)[0] > 200 && at(&picture, x, y)[1] < 60;
    let table = [
        ("left edge", 50, 65, true),
        ("right edge", 149, 65, true),
        ("top edge", 100, 40, true),
        ("bottom edge", 100, 89, true),
        ("inside", 100, 65, false),
        ("left of it", 48, 65, false),
        ("below it", 100, 91, false),
    ];
    for (name, x, y, expected) in table {
        assert_eq!(red(x, y), expected, "{name}");
    }
}

#[test]
fn a_caption_lies_on_a_band_in_the_picture() {
    for (name, y1) in [("room above", 60.0), ("no room above", 1.0)] {
        let surface = flat((320, 180), [100, 128, 128], FULL_601);
        let label = Label::of("person", 0.874, bbox(300.0, y1, 318.0, 170.0));
        assert_eq!(label.text, "person 87%");
        let picture = annotate(&surface, std::slice::from_ref(&label), None);
        let bare = annotate(&surface, &[Label { text: String::new(), ..label.clone() }], None);
        let changed = picture.planes[0].iter().zip(&bare.planes[0]).filter(|(a, b)| a != b).count();
        assert!(changed > 400, "{name}: {changed} pixels");
        let inks = picture.planes[0].iter().filter(|&y| !(20..=235).contains(y)).count();
        assert!(inks > 80, "{name}: {inks} pixels of text");
    }
}

#[test]
fn scaling_keeps_proportions_and_means() {
    let surface = flat((640, 360), [90, 100, 150], FULL_601);
    let picture = annotate(&surface, &[], Some(320));
    assert_eq!((picture.width_px(), picture.height_px()), (320, 180));
    assert_eq!((picture.planes[0][777], picture.planes[1][777], picture.planes[2][777]), (90, 100, 150));
    assert_eq!(annotate(&surface, &[], Some(2_000)).width_px(), 640, "never scaled up");
}

#[test]
fn crops_by_table() {
    let surface = flat((200, 100), [90, 100, 150], FULL_601);
    let table = [
        ("inside", bbox(20.0, 10.0, 60.0, 30.0), 0.0, Some((40, 20))),
        ("with a margin", bbox(20.0, 10.0, 60.0, 30.0), 0.5, Some((80, 40))),
        ("odd corners grow", bbox(21.0, 11.0, 25.0, 15.0), 0.0, Some((6, 6))),
        ("over the edge", bbox(180.0, 90.0, 300.0, 300.0), 0.0, Some((20, 10))),
        ("outside", bbox(300.0, 10.0, 310.0, 20.0), 0.0, None),
        ("empty", bbox(20.0, 10.0, 20.0, 30.0), 0.1, None),
    ];
    for (name, bbox, margin, expected) in table {
        let size = crop(&surface, &bbox, margin).map(|part| (part.width_px(), part.height_px()));
        assert_eq!(size, expected, "{name}");
    }
}

#[test]
fn files_decode_to_the_picture() {
    let surface = flat((61, 41), [60, 110, 180], Color { matrix: Matrix::Bt709, full_range: false });
    let picture = annotate(&surface, &[], None);
    let expected = at(&picture, 60, 40);
    let jpeg = encode(&picture, SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }).unwrap();
    let decoded = turbojpeg::decompress(&jpeg, turbojpeg::PixelFormat::RGB).unwrap();
    assert_eq!((decoded.width, decoded.height), (61, 41));
    let last = &decoded.pixels[40 * decoded.pitch + 60 * 3..][..3];
    assert!(last.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3), "{last:?} is not {expected:?}");
    let png = encode(&picture, SnapshotSpec { format: SnapshotFormat::Png, jpeg_quality: 90 }).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (61, 41));
    assert_eq!(pixels, encode::rgb(&picture));
}

/// A plane may end with its last row: no padding after it is read.
#[test]
fn planes_may_end_with_their_last_row() {
    let planes = [vec![9; 6], vec![128; 2], vec![128; 2]];
    let surface = HostPicture::from_planes((3, 2), planes, [3, 2, 2], FULL_601).unwrap();
    let view: Yuv420<'_> = surface.view();
    assert_eq!(Picture::of(&view).planes[0], [9; 6]);
}
