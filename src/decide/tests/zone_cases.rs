//! The cases of testdata/zones/cases.json, which the page must judge alike (tests/browser/zones.py): the zone editor shows example boxes
//! as these filters would judge them.
//!
//! `BLESS=1` writes them again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::*;
use crate::decide::{filter, roi};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/zones/cases.json");

/// Number of cases with random polygons and boxes.
const RANDOM_CASES: u32 = 400;

/// A detection, the filters of an entry, and their judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ZoneCase {
    name: String,
    /// Width and height, px.
    frame: (u32, u32),
    /// The zones; `None`: the whole frame.
    roi: Option<CaseRoi>,
    conf_threshold: f32,
    classes: Option<Vec<String>>,
    min_box: Option<CaseSize>,
    label: String,
    conf: f32,
    bbox: [f32; 4],
    /// Names of the zones that contain the box.
    zones: Vec<String>,
    /// `true` if it passes the filters.
    kept: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CaseRoi {
    zones: Vec<CaseZone>,
    filter: String,
    min_overlap: Option<f32>,
    normalized: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CaseZone {
    name: String,
    points: Vec<(f32, f32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct CaseSize {
    width: f32,
    height: f32,
}

impl ZoneCase {
    fn judged(self) -> Self {
        let rules = self.rules();
        let [x1, y1, x2, y2] = self.bbox;
        let bbox = BBox { x1, y1, x2, y2 };
        let zones = rules.roi.as_ref().map(|roi| roi::zones_of(roi, &bbox, self.frame)).unwrap_or_default();
        let detections =
            [Detection { label: self.label.as_str().into(), conf: self.conf, bbox, reading: None }];
        let fragment = Fragment { number: "1".into(), producer_ms: None, server_ms: None };
        let (model, camera) = (model(), CameraId::new("gate"));
        let inference = Inference { rules: &rules, model: &model, detections: &detections };
        let facts = FrameFacts {
            camera: &camera,
            stream: "gate",
            fragment: &fragment,
            index: 0,
            media: MediaMs(START_MS),
            size_px: self.frame,
            picture: None,
        };
        let (sure, _) = filter::filter_detections(&inference, &facts, &[]);
        Self { zones, kept: !sure.is_empty(), ..self }
    }

    fn rules(&self) -> Rules {
        Rules {
            thresholds: Thresholds { conf: self.conf_threshold, nms_iou: 0.5 },
            classes: self
                .classes
                .as_ref()
                .map(|names| names.iter().map(|name| name.as_str().into()).collect()),
            min_box: self.min_box.map(|CaseSize { width, height }| (width, height)),
            roi: self.roi.as_ref().map(|roi| Roi {
                zones: roi
                    .zones
                    .iter()
                    .map(|zone| Zone { name: zone.name.clone(), points: zone.points.clone() })
                    .collect(),
                filter: match roi.filter.as_str() {
                    "center" => RoiFilter::Center,
                    "any" => RoiFilter::Any,
                    "all" => RoiFilter::All,
                    _ => RoiFilter::Overlap(roi.min_overlap.unwrap()),
                },
                normalized: roi.normalized,
            }),
            ..rules()
        }
    }
}

/// A linear congruential generator, whose numbers never change (Knuth, MMIX).
struct CaseNumbers(u64);

impl CaseNumbers {
    /// Returns a number of `0..below`.
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// Returns a multiple of `step` from `low` to `high`.
    fn step(&mut self, low: f32, high: f32, step: f32) -> f32 {
        let steps = ((high - low) / step) as u64;
        low + step * self.below(steps + 1) as f32
    }
}

fn random_case(number: u32, numbers: &mut CaseNumbers) -> ZoneCase {
    let frame = [(640, 360), (1280, 720), (1920, 1080)][numbers.below(3) as usize];
    let (width, height) = (frame.0 as f32, frame.1 as f32);
    let normalized = numbers.below(2) == 0;
    let filter = ["center", "any", "all", "overlap"][numbers.below(4) as usize];
    let zones = (0..=numbers.below(2))
        .map(|i| random_zone(i, numbers, if normalized { (1.0, 1.0) } else { (width, height) }));
    let zones = zones.collect();
    // Steps of a whole pixel make boxes that touch an edge, and those of a tenth are rounded in binary.
    let step = [1.0, 0.1, 20.0][numbers.below(3) as usize];
    let (x1, y1) = (numbers.step(0.0, width * 0.8, step), numbers.step(0.0, height * 0.8, step));
    let (x2, y2) = (x1 + numbers.step(0.0, width * 0.5, step), y1 + numbers.step(0.0, height * 0.6, step));
    let (min_width, min_height) = if normalized { (0.1, 0.1) } else { (64.0, 36.0) };
    ZoneCase {
        name: format!("random {number}"),
        frame,
        roi: Some(CaseRoi {
            zones,
            filter: filter.to_owned(),
            min_overlap: (filter == "overlap").then(|| numbers.step(0.01, 1.0, 0.01)),
            normalized,
        }),
        conf_threshold: numbers.step(0.1, 0.6, 0.1),
        classes: (numbers.below(3) == 0).then(|| vec!["person".to_owned(), "car".to_owned()]),
        min_box: (numbers.below(3) == 0).then_some(CaseSize { width: min_width, height: min_height }),
        label: ["person", "car", "dog"][numbers.below(3) as usize].to_owned(),
        conf: numbers.step(0.3, 0.9, 0.1),
        bbox: [x1, y1, x2.min(width), y2.min(height)],
        zones: Vec::new(),
        kept: false,
    }
    .judged()
}

/// Returns a polygon whose corners stand around a centre by rising angle.
fn random_zone(index: u64, numbers: &mut CaseNumbers, (width, height): (f32, f32)) -> CaseZone {
    let corners = 3 + numbers.below(6);
    let (x, y) = (width * numbers.step(0.3, 0.7, 0.1), height * numbers.step(0.3, 0.7, 0.1));
    let corner = |i: u64| {
        let angle = std::f32::consts::TAU * i as f32 / corners as f32;
        let radius = numbers.step(0.1, 0.5, 0.05);
        let place = |centre: f32, size: f32, part: f32| (centre + size * radius * part).clamp(0.0, size);
        let (x, y) = (place(x, width, angle.cos()), place(y, height, angle.sin()));
        // As a person draws: whole pixels, or four digits.
        if width > 1.0 { (x.round(), y.round()) } else { ((x * 1e4).round() / 1e4, (y * 1e4).round() / 1e4) }
    };
    CaseZone { name: format!("zone-{}", index + 1), points: (0..corners).map(corner).collect() }
}

fn named_cases() -> Vec<ZoneCase> {
    // An L: the square 0..100 without its upper right quarter.
    let l = vec![(0.0, 0.0), (50.0, 0.0), (50.0, 50.0), (100.0, 50.0), (100.0, 100.0), (0.0, 100.0)];
    let roi = |filter: &str, min_overlap: Option<f32>| CaseRoi {
        zones: vec![CaseZone { name: "l".to_owned(), points: l.clone() }],
        filter: filter.to_owned(),
        min_overlap,
        normalized: false,
    };
    let table: [(&str, &str, Option<f32>, [f32; 4]); 14] = [
        ("centre inside", "center", None, [10.0, 10.0, 30.0, 30.0]),
        ("centre on the left edge", "center", None, [-10.0, 60.0, 10.0, 80.0]),
        ("centre on the right edge", "center", None, [90.0, 60.0, 110.0, 80.0]),
        ("centre on the top edge", "center", None, [15.0, -10.0, 35.0, 10.0]),
        ("centre on the bottom edge", "center", None, [15.0, 90.0, 35.0, 110.0]),
        ("centre in the notch", "center", None, [60.0, 10.0, 90.0, 40.0]),
        ("only touches an edge", "any", None, [50.0, 0.0, 90.0, 40.0]),
        ("polygon inside the box", "any", None, [-10.0, -10.0, 150.0, 150.0]),
        ("exactly the lower half", "all", None, [0.0, 50.0, 100.0, 100.0]),
        ("corners inside, the notch cuts in", "all", None, [10.0, 40.0, 90.0, 90.0]),
        ("half inside, half asked", "overlap", Some(0.5), [50.0, 60.0, 150.0, 90.0]),
        ("half inside, more asked", "overlap", Some(0.51), [50.0, 60.0, 150.0, 90.0]),
        ("a point inside", "all", None, [20.0, 20.0, 20.0, 20.0]),
        ("a point outside", "any", None, [70.0, 20.0, 70.0, 20.0]),
    ];
    let case = |name: &str, roi: Option<CaseRoi>, bbox: [f32; 4]| ZoneCase {
        name: name.to_owned(),
        frame: (200, 200),
        roi,
        conf_threshold: 0.4,
        classes: None,
        min_box: None,
        label: "person".to_owned(),
        conf: 0.9,
        bbox,
        zones: Vec::new(),
        kept: false,
    };
    let mut cases: Vec<ZoneCase> = table
        .into_iter()
        .map(|(name, filter, share, bbox)| case(name, Some(roi(filter, share)), bbox))
        .collect();
    let whole = case("no zones", None, [10.0, 10.0, 30.0, 40.0]);
    cases.push(ZoneCase { conf: 0.4, name: "exactly the threshold".to_owned(), ..whole.clone() });
    cases.push(ZoneCase { conf: 0.399_999_9, name: "below the threshold".to_owned(), ..whole.clone() });
    cases.push(ZoneCase {
        classes: Some(vec!["car".to_owned()]),
        name: "another class".to_owned(),
        ..whole.clone()
    });
    let size = |width, height| Some(CaseSize { width, height });
    cases.push(ZoneCase { min_box: size(20.0, 30.0), name: "exactly the size".to_owned(), ..whole.clone() });
    cases.push(ZoneCase { min_box: size(20.0, 30.5), name: "too low".to_owned(), ..whole.clone() });
    cases.push(whole);
    cases.into_iter().map(ZoneCase::judged).collect()
}

/// Returns the file of the cases, one per line.
fn file_of(cases: &[ZoneCase]) -> String {
    let lines: Vec<String> = cases.iter().map(|case| serde_json::to_string(case).unwrap()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

#[test]
fn the_cases_that_the_page_must_judge_alike_are_judged_so_here() {
    let mut numbers = CaseNumbers(7);
    let mut cases = named_cases();
    cases.extend((0..RANDOM_CASES).map(|number| random_case(number, &mut numbers)));
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(Path::new(FILE).parent().unwrap()).unwrap();
        std::fs::write(FILE, file_of(&cases)).unwrap();
    }
    let stored: Vec<ZoneCase> = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    for case in &stored {
        assert_eq!(*case, case.clone().judged(), "BLESS=1 writes the cases again");
    }
    assert_eq!(stored.len(), cases.len());
    let in_a_zone = stored.iter().filter(|case| !case.zones.is_empty()).count();
    assert!((120..300).contains(&in_a_zone), "{in_a_zone} of {} boxes are in a zone", stored.len());
    let kept = stored.iter().filter(|case| case.kept).count();
    assert!((40..200).contains(&kept), "{kept} boxes are kept");
}
