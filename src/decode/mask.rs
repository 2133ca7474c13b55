//! Privacy masks: regions that are black in every picture before another stage gets it.

use std::ops::Range;

use serde::Serialize;

use crate::media::{Color, HostPicture};

/// The masked regions of a camera.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Masks {
    /// Polygons of at least three corners, in frame px or fractions of the frame, filled by the non-zero rule.
    pub polygons: Vec<Vec<(f32, f32)>>,
    /// True if the corners are fractions of the frame (0..=1), false if they are frame px.
    pub normalized: bool,
}

/// Paints the masked regions of a camera black.
#[derive(Debug)]
pub struct MaskPainter {
    masks: Masks,
    /// The raster for the size of the last picture, px.
    raster: Option<((u32, u32), MaskRaster)>,
}

/// The black samples of a picture of one size.
#[derive(Debug)]
struct MaskRaster {
    luma: Vec<MaskSpan>,
    chroma: Vec<MaskSpan>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct MaskSpan {
    row: usize,
    columns: Range<usize>,
}

type MaskPoint = (f64, f64);

impl MaskPainter {
    /// Creates a painter of `masks`.
    #[must_use]
    pub fn new(masks: Masks) -> Self {
        Self { masks, raster: None }
    }

    /// Returns a copy of `picture` in which each luma and chroma sample that a region touches is black.
    #[must_use]
    pub fn paint(&mut self, picture: &HostPicture) -> HostPicture {
        let raster = self.raster_for((picture.view().width_px, picture.view().height_px));
        // The decoder may use its own picture as a reference, so it must not be changed.
        let mut painted = picture.copy();
        let black = black_luma(picture.view().color);
        // Neutral chroma is 128 in both ranges.
        let spans = [(&raster.luma, black), (&raster.chroma, 128), (&raster.chroma, 128)];
        for ((plane, stride), (spans, value)) in painted.planes_mut().into_iter().zip(spans) {
            fill(plane, stride, spans, value);
        }
        painted.into_picture()
    }

    /// Returns the samples that [`Self::paint`] makes black in pictures of this size, for a GPU that paints them.
    #[must_use]
    pub fn device_spans(&mut self, size_px: (u32, u32)) -> gpu::MaskSpans {
        let MaskRaster { luma, chroma } = self.raster_for(size_px);
        let span = |span: &MaskSpan| gpu::SampleSpan {
            row: number(span.row),
            from: number(span.columns.start),
            to: number(span.columns.end),
        };
        gpu::MaskSpans { luma: luma.iter().map(span).collect(), chroma: chroma.iter().map(span).collect() }
    }

    fn raster_for(&mut self, size_px: (u32, u32)) -> &MaskRaster {
        let raster = match self.raster.take().filter(|(raster_px, _)| *raster_px == size_px) {
            Some(raster) => raster,
            None => (size_px, MaskRaster::new(&self.masks, size_px)),
        };
        &self.raster.insert(raster).1
    }
}

/// Returns the luma of black: 0 in full range, 16 in limited range (BT.601, BT.709).
pub(super) fn black_luma(color: Color) -> u8 {
    if color.full_range { 0 } else { 16 }
}

/// A row or column of a picture, whose sides are `u32`.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn fill(plane: &mut [u8], stride: usize, spans: &[MaskSpan], value: u8) {
    for MaskSpan { row, columns } in spans {
        plane[row * stride..][columns.clone()].fill(value);
    }
}

impl MaskRaster {
    fn new(masks: &Masks, (width_px, height_px): (u32, u32)) -> Self {
        let (across, down) =
            if masks.normalized { (f64::from(width_px), f64::from(height_px)) } else { (1.0, 1.0) };
        let mut luma = SampleGrid::new(width_px as usize, height_px as usize);
        for points in &masks.polygons {
            let corners = points.iter().map(|&(x, y)| (f64::from(x) * across, f64::from(y) * down));
            luma.cover(&corners.collect::<Vec<_>>());
        }
        Self { luma: luma.spans(), chroma: luma.halved().spans() }
    }
}

/// The black samples of a plane. The sample in column `x` and row `y` is the open square to `x + 1`, `y + 1`.
struct SampleGrid {
    columns: usize,
    rows: usize,
    black: Vec<bool>,
}

impl SampleGrid {
    fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, black: vec![false; columns * rows] }
    }

    /// Blackens the samples that the polygon touches.
    fn cover(&mut self, polygon: &[MaskPoint]) {
        // A touched sample has an edge through it, or else lies inside as a whole, with its centre.
        for row in 0..self.rows {
            let top = float(row);
            for edge in edges(polygon) {
                self.fill(row, span_of_edge(edge, top));
            }
            for span in spans_inside(polygon, top + 0.5) {
                self.fill(row, Some(span));
            }
        }
    }

    fn fill(&mut self, row: usize, span: Option<(f64, f64)>) {
        let Some((from, to)) = span else { return };
        let columns = self.column(from.floor())..self.column(to.ceil());
        self.black[row * self.columns..][columns].fill(true);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=columns")]
    fn column(&self, x: f64) -> usize {
        x.clamp(0.0, float(self.columns)) as usize
    }

    /// Returns the chroma samples of 4:2:0, black if any of their four luma samples is.
    fn halved(&self) -> Self {
        let mut halved = Self::new(self.columns.div_ceil(2), self.rows.div_ceil(2));
        for MaskSpan { row, columns } in self.spans() {
            let columns = columns.start / 2..columns.end.div_ceil(2);
            halved.black[row / 2 * halved.columns..][columns].fill(true);
        }
        halved
    }

    fn spans(&self) -> Vec<MaskSpan> {
        let rows = self.black.chunks(self.columns.max(1)).enumerate();
        rows.flat_map(|(row, black)| spans_of_row(row, black)).collect()
    }
}

fn spans_of_row(row: usize, black: &[bool]) -> impl Iterator<Item = MaskSpan> + '_ {
    let runs = black.chunk_by(|a, b| a == b).scan(0, |end, run| {
        *end += run.len();
        Some((run[0], *end - run.len()..*end))
    });
    runs.filter(|(black, _)| *black).map(move |(_, columns)| MaskSpan { row, columns })
}

/// Returns the columns spanned by the part of an edge in the row from `top` to `top + 1`, if there is such a part.
fn span_of_edge(((x1, y1), (x2, y2)): (MaskPoint, MaskPoint), top: f64) -> Option<(f64, f64)> {
    let bottom = top + 1.0;
    if y1.max(y2) <= top || y1.min(y2) >= bottom {
        return None;
    }
    let at = |y: f64, x: f64| {
        let inside = y.clamp(top, bottom);
        // An end within the row is taken as it is: interpolation would round it, and fail on a horizontal edge.
        if inside == y { x } else { x1 + (inside - y1) / (y2 - y1) * (x2 - x1) }
    };
    let (a, b) = (at(y1, x1), at(y2, x2));
    Some((a.min(b), a.max(b)))
}

/// Returns the parts of the line at height `y` that are inside the polygon, by the non-zero rule.
fn spans_inside(polygon: &[MaskPoint], y: f64) -> Vec<(f64, f64)> {
    // An edge that ends on the line counts on one side only, so that a corner is not crossed twice.
    let crossing = |((x1, y1), (x2, y2)): (MaskPoint, MaskPoint)| {
        let x = x1 + (y - y1) / (y2 - y1) * (x2 - x1);
        ((y1 > y) != (y2 > y)).then_some((x, if y2 > y1 { 1 } else { -1 }))
    };
    let mut crossings: Vec<(f64, i32)> = edges(polygon).filter_map(crossing).collect();
    crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut winding = 0;
    let spans = crossings.windows(2).filter_map(|pair| {
        winding += pair[0].1;
        (winding != 0).then_some((pair[0].0, pair[1].0))
    });
    spans.collect()
}

fn edges(polygon: &[MaskPoint]) -> impl Iterator<Item = (MaskPoint, MaskPoint)> + '_ {
    let next = polygon.iter().cycle().skip(1);
    polygon.iter().copied().zip(next.copied())
}

#[expect(clippy::cast_precision_loss, reason = "picture sizes are far below 2^52")]
fn float(px: usize) -> f64 {
    px as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::Matrix;

    fn covered(polygon: &[(f32, f32)], size_px: (u32, u32)) -> SampleGrid {
        let mut cells = SampleGrid::new(size_px.0 as usize, size_px.1 as usize);
        let corners = polygon.iter().map(|&(x, y)| (f64::from(x), f64::from(y)));
        cells.cover(&corners.collect::<Vec<_>>());
        cells
    }

    fn drawn(cells: &SampleGrid) -> Vec<String> {
        let row = |row: &[bool]| row.iter().map(|black| if *black { '#' } else { '.' }).collect();
        cells.black.chunks(cells.columns).map(row).collect()
    }

    #[test]
    fn shapes_by_table() {
        type Case<'a> = (&'a str, &'a [(f32, f32)], [&'a str; 4]);
        let cases: [Case; 7] = [
            (
                "whole samples",
                &[(1., 1.), (3., 1.), (3., 3.), (1., 3.)],
                [".....", ".##..", ".##..", "....."],
            ),
            (
                "parts of samples",
                &[(0.9, 0.9), (3.1, 0.9), (3.1, 2.1), (0.9, 2.1)],
                ["####.", "####.", "####.", "....."],
            ),
            ("within a sample", &[(1.2, 1.2), (1.4, 1.2), (1.3, 1.4)], [".....", ".#...", ".....", "....."]),
            ("thin", &[(0., 2.4), (5., 2.4), (5., 2.6)], [".....", ".....", "#####", "....."]),
            (
                "over the edges",
                &[(-9., -9.), (2., -9.), (2., 9.), (-9., 9.)],
                ["##...", "##...", "##...", "##..."],
            ),
            ("outside", &[(5., 0.), (9., 0.), (9., 4.), (5., 4.)], [".....", ".....", ".....", "....."]),
            (
                "crosses itself",
                &[(0., 0.), (4., 4.), (4., 0.), (0., 4.)],
                ["#..#.", "####.", "####.", "#..#."],
            ),
        ];
        for (name, polygon, rows) in cases {
            assert_eq!(drawn(&covered(polygon, (5, 4))), rows, "{name}");
        }
    }

    #[test]
    fn a_polygon_that_winds_twice_is_black_too() {
        let twice = [(0., 0.), (4., 0.), (4., 4.), (0., 4.), (0., 0.), (4., 0.), (4., 4.), (0., 4.)];
        assert_eq!(drawn(&covered(&twice, (4, 4))), ["####"; 4]);
    }

    fn picture((width, height): (u32, u32), full_range: bool) -> HostPicture {
        let chroma = (width.div_ceil(2) * height.div_ceil(2)) as usize;
        let planes = [vec![200; (width * height) as usize], vec![90; chroma], vec![160; chroma]];
        let half = width.div_ceil(2) as usize;
        let color = Color { matrix: Matrix::Bt601, full_range };
        HostPicture::from_planes((width, height), planes, [width as usize, half, half], color).unwrap()
    }

    #[test]
    fn black_depends_on_the_pictures_range_and_covers_the_chroma() {
        let corner = vec![(2.0, 1.0), (3.0, 1.0), (3.0, 2.0), (2.0, 2.0)];
        for (full_range, black) in [(false, 16), (true, 0)] {
            let mut painter = MaskPainter::new(Masks { polygons: vec![corner.clone()], normalized: false });
            let painted = painter.paint(&picture((5, 3), full_range));
            let [y, u, v] = painted.view().planes;
            assert_eq!(y[5..10], [200, 200, black, 200, 200]);
            assert_eq!((&y[..5], &y[10..]), (&[200; 5][..], &[200; 5][..]));
            assert_eq!((u, v), (&[90, 128, 90, 90, 90, 90][..], &[160, 128, 160, 160, 160, 160][..]));
        }
    }

    #[test]
    fn shares_follow_the_size_of_the_picture() {
        let right = vec![(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)];
        let mut painter = MaskPainter::new(Masks { polygons: vec![right], normalized: true });
        for width in [4, 8, 4] {
            let painted = painter.paint(&picture((width, 2), true));
            let black = painted.view().planes[0].iter().filter(|luma| **luma == 0).count();
            assert_eq!(black, width as usize, "{width} px");
        }
    }

    #[test]
    fn a_gpu_blackens_the_same_samples() {
        let fake = test_support::gpu::FakeDriver::new();
        let driver = gpu::CudaDriver::load_from(&fake.library()).unwrap();
        let stream = gpu::CudaStream::new(&gpu::CudaContext::retain(&driver, 0).unwrap()).unwrap();
        let polygons =
            vec![vec![(-3.0, 1.0), (9.5, 2.5), (4.0, 30.0)], vec![(200.0, 3.0), (30.0, 3.5), (299.0, 9.0)]];
        for (size_px, full_range) in [((301, 11), false), ((8, 40), true), ((1, 1), true)] {
            let original = picture(size_px, full_range);
            let mut painter = MaskPainter::new(Masks { polygons: polygons.clone(), normalized: false });
            let spans = painter.device_spans(size_px);
            let mask = gpu::DeviceMask::upload(&stream, size_px, &spans).unwrap();
            for layout in [gpu::ChromaLayout::Interleaved, gpu::ChromaLayout::Planar] {
                let frame = gpu::DeviceFrame::new(stream.context(), size_px, layout).unwrap();
                let staging = gpu::PinnedBuffer::new(stream.context(), frame.bytes()).unwrap();
                let (planes, strides) = (original.view().planes, original.view().strides);
                let staging = frame.upload(&stream, &gpu::FramePlanes { planes, strides }, staging).unwrap();
                mask.paint(&stream, &frame, if full_range { 0 } else { 16 }).unwrap();
                let bytes = frame.download(&stream, staging.wait().unwrap()).unwrap().wait().unwrap();
                assert_eq!(
                    frame.unpack(&bytes),
                    painter.paint(&original).view().planes,
                    "{size_px:?} {layout:?}"
                );
            }
        }
    }

    /// The slow twin: returns true if the polygon certainly (`slack` below 0) or possibly (above 0) touches the square.
    fn touches(polygon: &[MaskPoint], (column, row): (usize, usize), slack: f64) -> bool {
        let (left, top) = (float(column) - slack, float(row) - slack);
        let (right, bottom) = (float(column) + 1.0 + slack, float(row) + 1.0 + slack);
        let centre = (float(column) + 0.5, float(row) + 0.5);
        winding(polygon, centre) != 0
            || edges(polygon).any(|edge| passes_through(edge, (left, top), (right, bottom)))
    }

    /// Computes the winding number by angles.
    fn winding(polygon: &[MaskPoint], (x, y): MaskPoint) -> i32 {
        let turn = |((x1, y1), (x2, y2)): (MaskPoint, MaskPoint)| {
            let (a, b) = ((x1 - x, y1 - y), (x2 - x, y2 - y));
            (a.0 * b.1 - a.1 * b.0).atan2(a.0 * b.0 + a.1 * b.1)
        };
        (edges(polygon).map(turn).sum::<f64>() / std::f64::consts::TAU).round() as i32
    }

    /// Tests by separating axes: the sides of the square, and the edge itself.
    fn passes_through(((x1, y1), (x2, y2)): (MaskPoint, MaskPoint), low: MaskPoint, high: MaskPoint) -> bool {
        let apart =
            x1.max(x2) <= low.0 || x1.min(x2) >= high.0 || y1.max(y2) <= low.1 || y1.min(y2) >= high.1;
        let side = |(x, y): MaskPoint| (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1);
        let sides = [low, high, (low.0, high.1), (high.0, low.1)].map(side);
        !apart && sides.iter().any(|side| *side <= 0.0) && sides.iter().any(|side| *side >= 0.0)
    }

    proptest! {
        #[test]
        fn exactly_the_samples_that_a_polygon_touches_are_black(
            polygon in prop::collection::vec((-6.0..30.0_f32, -6.0..22.0_f32), 3..8),
        ) {
            let cells = covered(&polygon, (24, 16));
            let corners: Vec<MaskPoint> = polygon.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).collect();
            for (index, black) in cells.black.iter().enumerate() {
                let at = (index % 24, index / 24);
                prop_assert!(*black || !touches(&corners, at, -1e-6), "{:?} shines through", at);
                prop_assert!(!*black || touches(&corners, at, 1e-6), "{:?} is black", at);
            }
        }

        #[test]
        fn a_chroma_sample_is_black_if_one_of_its_luma_samples_is(
            polygon in prop::collection::vec((-2.0..12.0_f32, -2.0..12.0_f32), 3..6),
            (width, height) in (1_usize..12, 1_usize..12),
        ) {
            let luma = covered(&polygon, (width as u32, height as u32));
            let chroma = luma.halved();
            for (index, black) in chroma.black.iter().enumerate() {
                let (x, y) = (index % chroma.columns * 2, index / chroma.columns * 2);
                let of = |(x, y): (usize, usize)| x < width && y < height && luma.black[y * width + x];
                let any = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)].into_iter().any(of);
                prop_assert_eq!(*black, any, "{} {}", x, y);
            }
        }
    }
}
