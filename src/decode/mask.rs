//! Regions that are black in every picture before anything else sees it.

use std::ops::Range;

use crate::media::HostPicture;

/// The regions of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Masks {
    /// Polygons of at least three corners, in frame px or fractions of the frame. One that crosses itself is black wherever it
    /// winds around.
    pub polygons: Vec<Vec<(f32, f32)>>,
    /// Whether corners are fractions of the frame (0..=1) rather than frame px.
    pub normalized: bool,
}

/// Blacks out the regions of a camera in its pictures.
#[derive(Debug)]
pub struct MaskPainter {
    masks: Masks,
    /// For the size of the last picture, px.
    drawn: Option<((u32, u32), Drawn)>,
}

/// What is black in a picture of one size.
#[derive(Debug)]
struct Drawn {
    luma: Vec<Span>,
    chroma: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    row: usize,
    columns: Range<usize>,
}

type Point = (f64, f64);

impl MaskPainter {
    /// Of `masks`.
    #[must_use]
    pub fn new(masks: Masks) -> Self {
        Self { masks, drawn: None }
    }

    /// The picture, with every luma and chroma sample black that a region touches. It is a copy: the decoder may still build
    /// on the one that it gave.
    #[must_use]
    pub fn paint(&mut self, picture: &HostPicture) -> HostPicture {
        let drawn = self.drawn_for((picture.view().width_px, picture.view().height_px));
        let mut painted = picture.copy();
        let black = if picture.view().color.full_range { 0 } else { 16 };
        let spans = [(&drawn.luma, black), (&drawn.chroma, 128), (&drawn.chroma, 128)];
        for ((plane, stride), (spans, value)) in painted.planes_mut().into_iter().zip(spans) {
            fill(plane, stride, spans, value);
        }
        painted.into_picture()
    }

    fn drawn_for(&mut self, size_px: (u32, u32)) -> &Drawn {
        let drawn = match self.drawn.take().filter(|(drawn_px, _)| *drawn_px == size_px) {
            Some(drawn) => drawn,
            None => (size_px, Drawn::new(&self.masks, size_px)),
        };
        &self.drawn.insert(drawn).1
    }
}

fn fill(plane: &mut [u8], stride: usize, spans: &[Span], value: u8) {
    for Span { row, columns } in spans {
        plane[row * stride..][columns.clone()].fill(value);
    }
}

impl Drawn {
    fn new(masks: &Masks, (width_px, height_px): (u32, u32)) -> Self {
        let (across, down) =
            if masks.normalized { (f64::from(width_px), f64::from(height_px)) } else { (1.0, 1.0) };
        let mut luma = Cells::new(width_px as usize, height_px as usize);
        for points in &masks.polygons {
            let corners = points.iter().map(|&(x, y)| (f64::from(x) * across, f64::from(y) * down));
            luma.cover(&corners.collect::<Vec<_>>());
        }
        Self { luma: luma.spans(), chroma: luma.halved().spans() }
    }
}

/// Which samples of a plane are black. The sample in column `x` and row `y` is the open square from there to `x + 1`, `y + 1`.
struct Cells {
    columns: usize,
    rows: usize,
    black: Vec<bool>,
}

impl Cells {
    fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows, black: vec![false; columns * rows] }
    }

    /// Blackens what the polygon touches: what an edge passes through, and what has its centre inside.
    fn cover(&mut self, polygon: &[Point]) {
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

    /// The chroma samples: black where any of their four luma samples is.
    fn halved(&self) -> Self {
        let mut halved = Self::new(self.columns.div_ceil(2), self.rows.div_ceil(2));
        for Span { row, columns } in self.spans() {
            let columns = columns.start / 2..columns.end.div_ceil(2);
            halved.black[row / 2 * halved.columns..][columns].fill(true);
        }
        halved
    }

    fn spans(&self) -> Vec<Span> {
        let rows = self.black.chunks(self.columns.max(1)).enumerate();
        rows.flat_map(|(row, black)| spans_of_row(row, black)).collect()
    }
}

fn spans_of_row(row: usize, black: &[bool]) -> impl Iterator<Item = Span> + '_ {
    let runs = black.chunk_by(|a, b| a == b).scan(0, |end, run| {
        *end += run.len();
        Some((run[0], *end - run.len()..*end))
    });
    runs.filter(|(black, _)| *black).map(move |(_, columns)| Span { row, columns })
}

/// The columns that the part of the edge in the row from `top` to `top + 1` spans; `None` where there is no such part.
fn span_of_edge(((x1, y1), (x2, y2)): (Point, Point), top: f64) -> Option<(f64, f64)> {
    let bottom = top + 1.0;
    if y1.max(y2) <= top || y1.min(y2) >= bottom {
        return None;
    }
    let at = |y: f64, x: f64| {
        let inside = y.clamp(top, bottom);
        if inside == y { x } else { x1 + (inside - y1) / (y2 - y1) * (x2 - x1) }
    };
    let (a, b) = (at(y1, x1), at(y2, x2));
    Some((a.min(b), a.max(b)))
}

/// Where the line at height `y` is inside the polygon, by the non-zero rule.
fn spans_inside(polygon: &[Point], y: f64) -> Vec<(f64, f64)> {
    let crossing = |((x1, y1), (x2, y2)): (Point, Point)| {
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

fn edges(polygon: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
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
    use crate::media::{Color, Matrix};

    fn covered(polygon: &[(f32, f32)], size_px: (u32, u32)) -> Cells {
        let mut cells = Cells::new(size_px.0 as usize, size_px.1 as usize);
        let corners = polygon.iter().map(|&(x, y)| (f64::from(x), f64::from(y)));
        cells.cover(&corners.collect::<Vec<_>>());
        cells
    }

    fn drawn(cells: &Cells) -> Vec<String> {
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
    fn what_winds_twice_is_black_too() {
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
    fn black_is_of_the_pictures_range_and_takes_the_chroma_along() {
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

    /// The slow twin: whether the polygon certainly has a part of the square in it (`slack` below 0), or possibly (above 0).
    fn touches(polygon: &[Point], (column, row): (usize, usize), slack: f64) -> bool {
        let (left, top) = (float(column) - slack, float(row) - slack);
        let (right, bottom) = (float(column) + 1.0 + slack, float(row) + 1.0 + slack);
        let centre = (float(column) + 0.5, float(row) + 0.5);
        winding(polygon, centre) != 0
            || edges(polygon).any(|edge| passes_through(edge, (left, top), (right, bottom)))
    }

    /// By angles.
    fn winding(polygon: &[Point], (x, y): Point) -> i32 {
        let turn = |((x1, y1), (x2, y2)): (Point, Point)| {
            let (a, b) = ((x1 - x, y1 - y), (x2 - x, y2 - y));
            (a.0 * b.1 - a.1 * b.0).atan2(a.0 * b.0 + a.1 * b.1)
        };
        (edges(polygon).map(turn).sum::<f64>() / std::f64::consts::TAU).round() as i32
    }

    /// By separating lines: those of the square's sides, and the edge's own.
    fn passes_through(((x1, y1), (x2, y2)): (Point, Point), low: Point, high: Point) -> bool {
        let apart =
            x1.max(x2) <= low.0 || x1.min(x2) >= high.0 || y1.max(y2) <= low.1 || y1.min(y2) >= high.1;
        let side = |(x, y): Point| (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1);
        let sides = [low, high, (low.0, high.1), (high.0, low.1)].map(side);
        !apart && sides.iter().any(|side| *side <= 0.0) && sides.iter().any(|side| *side >= 0.0)
    }

    proptest! {
        #[test]
        fn what_a_polygon_touches_is_black_and_nothing_else(
            polygon in prop::collection::vec((-6.0..30.0_f32, -6.0..22.0_f32), 3..8),
        ) {
            let cells = covered(&polygon, (24, 16));
            let corners: Vec<Point> = polygon.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).collect();
            for (index, black) in cells.black.iter().enumerate() {
                let at = (index % 24, index / 24);
                prop_assert!(*black || !touches(&corners, at, -1e-6), "{:?} shines through", at);
                prop_assert!(!*black || touches(&corners, at, 1e-6), "{:?} is black", at);
            }
        }

        #[test]
        fn a_chroma_sample_is_black_where_one_of_its_luma_samples_is(
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
