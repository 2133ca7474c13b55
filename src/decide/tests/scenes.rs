//! Drawn scenes: people come, go, hide and stand, at 5 and at 25 frames per second, with the default settings.

use super::*;
use crate::media::{Color, Matrix};

/// Width and height of the frame, px.
const FRAME: (f32, f32) = (640.0, 360.0);
/// Width and height of a person, px.
const SIZE: (f32, f32) = (40.0, 100.0);
/// Speed of a walk, px/s.
const WALK: f32 = 80.0;

/// A person's centre at a time (s); `None` while out of the scene.
type Course = Box<dyn Fn(f32) -> Option<(f32, f32)>>;

/// A scene and its truth: for each visit the time of the first sighting and the duration, s.
struct Scene {
    name: String,
    courses: Vec<Course>,
    /// Left and right edge of a wall in front of all people, px.
    wall: Option<(f32, f32)>,
    /// Confidence of the boxes; 0.4 is the configured minimum.
    conf: f32,
    /// One frame of this many is missed, at 5 frames per second.
    missed_of: Option<u32>,
    lasts_s: f32,
    visits: Vec<(f32, f32)>,
    /// `true` if boxes alone do not show who is who.
    needs_picture: bool,
}

/// Planes of a grey picture with people in it.
struct Painted([Vec<u8>; 3]);

impl Painted {
    fn new() -> Self {
        let (width, height) = (FRAME.0 as usize, FRAME.1 as usize);
        Self([vec![120; width * height], vec![128; width * height / 4], vec![128; width * height / 4]])
    }

    fn paint(&mut self, (x, y): (f32, f32), number: u8) {
        let colours = [40 + 50 * (number % 4), 100 + 25 * (number % 3), 150 - 20 * (number % 4)];
        for (plane, colour) in colours.into_iter().enumerate() {
            let shrunk = if plane == 0 { 1.0 } else { 2.0 };
            let (width, height) = (FRAME.0 / shrunk, FRAME.1 / shrunk);
            let edges = |at: f32, size: f32, side: f32| {
                let edge = |at: f32| (at / shrunk).clamp(0.0, side) as usize;
                edge(at - size / 2.0)..edge(at + size / 2.0)
            };
            for row in edges(y, SIZE.1, height) {
                let columns = edges(x, SIZE.0, width);
                let start = row * width as usize;
                self.0[plane][start + columns.start..start + columns.end].fill(colour);
            }
        }
    }

    fn view(&self) -> Yuv420<'_> {
        let (width_px, height_px) = (FRAME.0 as u32, FRAME.1 as u32);
        let strides = [width_px as usize, width_px as usize / 2, width_px as usize / 2];
        let color = Color { matrix: Matrix::Bt601, full_range: false };
        Yuv420 { width_px, height_px, planes: [&self.0[0], &self.0[1], &self.0[2]], strides, color }
    }
}

impl Scene {
    fn new(name: &str, courses: Vec<Course>, visits: &[(f32, f32)]) -> Self {
        let last = visits.iter().map(|(from, lasts)| from + lasts).fold(0.0, f32::max);
        let (name, visits) = (name.to_owned(), visits.to_vec());
        Self {
            name,
            courses,
            wall: None,
            conf: 0.8,
            missed_of: None,
            lasts_s: last + 8.0,
            visits,
            needs_picture: false,
        }
    }

    /// Returns the picture at `at_s`.
    fn picture(&self, at_s: f32, known: Known) -> Painted {
        let mut painted = Painted::new();
        for (number, course) in self.courses.iter().enumerate() {
            let Some(centre) = course(at_s) else { continue };
            painted.paint(centre, if known == Known::Uniforms { 0 } else { number as u8 });
        }
        painted
    }

    /// Returns the detections at `at_s`: boxes with noise, cut off by the wall and the frame's edges.
    fn detections(&self, at_s: f32, frame: u32) -> Vec<Detection> {
        let mut noise = Noise(frame.wrapping_mul(2_654_435_761).wrapping_add(12_345));
        let mut seen = Vec::new();
        for course in &self.courses {
            let Some((x, y)) = course(at_s) else { continue };
            let (w, h) = (SIZE.0 / 2.0 + noise.px(), SIZE.1 / 2.0 + noise.px());
            let (x, y) = (x + noise.px(), y + noise.px());
            let (mut x1, mut x2) = ((x - w).max(0.0), (x + w).min(FRAME.0));
            if let Some((left, right)) = self.wall {
                // A detector sees the larger one of the parts beside the wall.
                let (before, behind) = (x2.min(left) - x1, x2 - x1.max(right));
                (x1, x2) = if before >= behind { (x1, x2.min(left)) } else { (x1.max(right), x2) };
            }
            if x2 - x1 >= SIZE.0 * 0.4 {
                let bbox = BBox { x1, y1: y - h, x2, y2: y + h };
                seen.push(Detection {
                    label: "person".into(),
                    conf: self.conf + noise.px() * 0.01,
                    bbox,
                    reading: None,
                });
            }
        }
        seen
    }

    fn play(&self, fps: u16, known: Known) -> Vec<Event> {
        let (mut state, rules, mut events) = (DecideState::default(), by_default(), Vec::new());
        for frame in 0..(self.lasts_s * f32::from(fps)) as u32 {
            let at_s = frame as f32 / f32::from(fps);
            let is_missed = self.missed_of.is_some_and(|of| (at_s * 5.0) as u32 % of == of - 1);
            let seen = if is_missed { Vec::new() } else { self.detections(at_s, frame) };
            let painted = (known != Known::Boxes).then(|| self.picture(at_s, known));
            let picture = painted.as_ref().map(Painted::view);
            let outcome = pictured(&mut state, &rules, (at_s * 1000.0).round() as i64, &seen, picture);
            events.extend(outcome.events.into_iter().map(|decided| decided.event));
        }
        events
    }
}

/// The information that decide gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// Boxes alone.
    Boxes,
    /// Boxes and the picture, in which each person has other colours.
    Colours,
    /// Boxes and the picture, in which all are dressed alike.
    Uniforms,
}

/// Noise of a box's edges, the same for the same frame.
struct Noise(u32);

impl Noise {
    /// Returns -2 to 2 px.
    fn px(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((self.0 >> 8) as f32 / (1 << 24) as f32 - 0.5) * 4.0
    }
}

/// Returns the rules of an entry with nothing but a model in its configuration.
fn by_default() -> Rules {
    Rules {
        thresholds: Thresholds { conf: 0.4, nms_iou: 0.5 },
        confirm: Confirm { frames: 2, window: 3, iou_threshold: 0.3, median_conf: 0.5 },
        max_disappeared_ms: 5_000,
        cooldown_ms: 1_500,
        ..rules()
    }
}

/// Returns the course from one place to another at `speed` px/s, from `from_s`.
fn walk(from_s: f32, from: (f32, f32), to: (f32, f32), speed: f32) -> Course {
    route(from_s, vec![(from, 0.0), (to, 0.0)], speed)
}

/// Returns the course through places at `speed` px/s, from `from_s`, with a stay at each, s.
fn route(from_s: f32, places: Vec<((f32, f32), f32)>, speed: f32) -> Course {
    Box::new(move |at_s| {
        let mut left_s = at_s - from_s;
        if left_s < 0.0 {
            return None;
        }
        for (i, ((x, y), stays_s)) in places.iter().enumerate() {
            if left_s <= *stays_s {
                return Some((*x, *y));
            }
            left_s -= stays_s;
            let ((to_x, to_y), _) = places.get(i + 1)?;
            let distance = (to_x - x).hypot(to_y - y);
            let part = left_s * speed / distance;
            if part <= 1.0 {
                return Some((x + part * (to_x - x), y + part * (to_y - y)));
            }
            left_s -= distance / speed;
        }
        None
    })
}

const LEFT: (f32, f32) = (-10.0, 200.0);
const RIGHT: (f32, f32) = (650.0, 200.0);
const MIDDLE: (f32, f32) = (320.0, 200.0);

fn through_a_door(name: &str, door: (f32, f32), apart_s: f32, lasts_s: f32) -> Scene {
    let courses = vec![walk(0.0, RIGHT, door, WALK), walk(lasts_s + apart_s, door, RIGHT, WALK)];
    let visits = [(0.2, lasts_s), (lasts_s + apart_s, lasts_s)];
    Scene::new(&format!("{name}, {apart_s} s apart"), courses, &visits)
}

fn behind_a_wall(hidden_s: f32) -> Scene {
    // A person is detected while two fifths are visible, so a strip at each edge of the wall hides no one.
    let wide = hidden_s * WALK + SIZE.0 * 0.2;
    let mut scene =
        Scene::new(&format!("hidden for {hidden_s} s"), vec![walk(0.0, LEFT, RIGHT, WALK)], &[(0.2, 7.8)]);
    scene.wall = Some((250.0, 250.0 + wide));
    scene
}

fn scenes() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for apart_s in [3.0, 10.0, 25.0, 31.0] {
        scenes.push(through_a_door("a door at the edge", LEFT, apart_s, 8.2));
        scenes.push(through_a_door("an inner door", MIDDLE, apart_s, 4.1));
        let same_way = vec![walk(0.0, LEFT, RIGHT, WALK), walk(8.2 + apart_s, LEFT, RIGHT, WALK)];
        let visits = [(0.2, 7.8), (8.4 + apart_s, 7.8)];
        scenes.push(Scene::new(&format!("the same way twice, {apart_s} s apart"), same_way, &visits));
    }
    for hidden_s in [1.0, 2.0, 3.0] {
        scenes.push(behind_a_wall(hidden_s));
    }
    let queue = |number: u8| walk(f32::from(number) * 8.0, LEFT, RIGHT, 70.0);
    let visits: Vec<_> = (0..6_u8).map(|number| (0.2 + f32::from(number) * 8.0, 9.0)).collect();
    scenes.push(Scene::new("a queue of six", (0..6).map(queue).collect(), &visits));
    let four = |number: u8| walk(f32::from(number) * 12.0, MIDDLE, RIGHT, WALK);
    let visits: Vec<_> = (0..4_u8).map(|number| (f32::from(number) * 12.0, 4.1)).collect();
    scenes.push(Scene::new("four out of an inner door", (0..4).map(four).collect(), &visits));
    let stands = route(0.0, vec![(LEFT, 0.0), (MIDDLE, 180.0), (RIGHT, 0.0)], WALK);
    scenes.push(Scene::new("stands for three minutes", vec![stands], &[(0.2, 187.8)]));
    let (left, right) = ((LEFT.0, 180.0), (RIGHT.0, 215.0));
    let crossing = vec![walk(0.0, left, (RIGHT.0, 180.0), WALK), walk(0.0, right, (LEFT.0, 215.0), WALK)];
    scenes.push(Scene::new("two that cross", crossing, &[(0.2, 7.8), (0.2, 7.8)]));
    let (here, there) = ((295.0, 200.0), (345.0, 200.0));
    let meeting = vec![
        route(0.0, vec![(LEFT, 0.0), (here, 3.0), (LEFT, 0.0)], WALK),
        route(0.0, vec![(RIGHT, 0.0), (there, 3.0), (RIGHT, 0.0)], WALK),
    ];
    scenes.push(Scene::new("two that meet and go back", meeting, &[(0.2, 10.2), (0.2, 10.2)]));
    let mut back = Scene::new(
        "turns back behind a wall within a second",
        vec![route(0.0, vec![(LEFT, 0.0), ((270.0, 200.0), 0.1), (LEFT, 0.0)], WALK)],
        &[(0.2, 6.8)],
    );
    back.wall = Some((250.0, 400.0));
    scenes.push(back);
    let mut back = Scene::new(
        "turns back behind a wall and is hidden for four seconds",
        vec![route(0.0, vec![(LEFT, 0.0), ((320.0, 200.0), 2.2), (LEFT, 0.0)], WALK)],
        &[(0.2, 10.2)],
    );
    (back.wall, back.needs_picture) = (Some((250.0, 400.0)), true);
    scenes.push(back);
    let mut flickers = Scene::new(
        "stands and is missed in one of three frames",
        vec![route(0.0, vec![(MIDDLE, 60.0)], WALK)],
        &[(0.0, 60.0)],
    );
    flickers.missed_of = Some(3);
    scenes.push(flickers);
    let mut cone = Scene::new("a cone that flickers", vec![route(0.0, vec![(MIDDLE, 60.0)], WALK)], &[]);
    (cone.conf, cone.missed_of, cone.lasts_s) = (0.43, Some(2), 60.0);
    scenes.push(cone);
    scenes
}

/// Returns the difference between the events of a scene and its truth; `None` if there is none.
fn fault(scene: &Scene, events: &[Event]) -> Option<String> {
    let starts: Vec<f32> = of(events, Phase::Start).map(seconds_of).collect();
    let is_on_time = |(start, (from, _)): (&f32, &(f32, f32))| (0.0..=0.8).contains(&(start - from));
    let on_time = starts.len() == scene.visits.len() && starts.iter().zip(&scene.visits).all(is_on_time);
    let ends = of(events, Phase::End).filter_map(|event| event.payload.extras.duration_ms);
    let mut lasted: Vec<f32> = ends.map(|ms| ms as f32 / 1000.0).collect();
    let mut lasts: Vec<f32> = scene.visits.iter().map(|(_, lasts_s)| *lasts_s).collect();
    lasted.sort_by(f32::total_cmp);
    lasts.sort_by(f32::total_cmp);
    let close = |(lasted, lasts): (&f32, &f32)| (lasted - lasts).abs() <= 0.8;
    let whole = lasted.len() == lasts.len() && lasted.iter().zip(&lasts).all(close);
    let difference =
        || format!("{}: starts {starts:?}, lasted {lasted:?}; true {:?}", scene.name, scene.visits);
    (!on_time || !whole).then(difference)
}

#[test]
fn each_visit_has_one_start_and_the_right_duration_at_any_rate() {
    let mut faults = Vec::new();
    for scene in scenes() {
        for known in [Known::Boxes, Known::Colours, Known::Uniforms] {
            if known == Known::Boxes && scene.needs_picture {
                continue;
            }
            for fps in [5, 25] {
                let fault = fault(&scene, &scene.play(fps, known));
                faults.extend(fault.map(|fault| format!("{fps} fps, {known:?}: {fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn of(events: &[Event], phase: Phase) -> impl Iterator<Item = &Event> {
    events.iter().filter(move |event| event.payload.extras.phase == phase)
}

fn seconds_of(event: &Event) -> f32 {
    (event.payload.ts_ms - START_MS) as f32 / 1000.0
}
