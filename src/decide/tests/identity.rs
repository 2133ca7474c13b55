//! Identity of objects: re-identification of hidden, emerging, covered and cut-off objects.

use super::*;

const GREY: [u8; 3] = [110, 128, 128];
const BLUE: [u8; 3] = [47, 192, 112];
/// A little lighter than [`GREY`].
const LIT: [u8; 3] = [118, 128, 128];

/// A name, the left edge and the colours of a newcomer by frame, and the starts (ms, track).
type Newcomer<'a> = (&'a str, f32, &'a [[u8; 3]], &'a [(i64, u64)]);

/// Returns the tracks whose incidents start in a frame with these people, in a picture of one colour, which is theirs.
fn started(
    state: &mut DecideState,
    rules: &Rules,
    ms: i64,
    colour: [u8; 3],
    people: &[Detection],
) -> Vec<u64> {
    let picture = Plain::new(colour);
    let outcome = pictured(state, rules, ms, people, Some(picture.view()));
    starts(&outcome).iter().map(|event| event.payload.extras.track_id).collect()
}

#[test]
fn a_newcomer_near_a_lost_object_has_half_a_second_to_look_alike() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    let table: [Newcomer<'_>; 6] = [
        ("the same colours", 260.0, &[GREY; 5], &[(200, 1)]),
        ("its first sighting shows the obstacle", 260.0, &[BLUE, GREY, GREY, GREY, GREY], &[(200, 1)]),
        ("its first two sightings show the obstacle", 260.0, &[BLUE, BLUE, GREY, GREY, GREY], &[(200, 1)]),
        ("it looks different for long", 260.0, &[BLUE; 5], &[(200, 1), (2_000, 2)]),
        ("it looks alike too late", 260.0, &[BLUE, BLUE, BLUE, BLUE, GREY], &[(200, 1), (2_000, 2)]),
        ("it appears far from there", 400.0, &[BLUE; 5], &[(200, 1), (1_600, 2)]),
    ];
    for (name, place, colours, expected) in table {
        let stood = [(GREY, Some(200.0)); 6].into_iter().chain([(GREY, None)]);
        let frames = stood.chain(colours.iter().map(|colour| (*colour, Some(place))));
        let (mut state, mut reported) = (DecideState::default(), Vec::new());
        for (ms, (colour, left)) in (0..).step_by(200).zip(frames) {
            let people: Vec<_> = left.map(person).into_iter().collect();
            let tracks = started(&mut state, &rules, ms, colour, &people);
            reported.extend(tracks.into_iter().map(|track| (ms, track)));
        }
        assert_eq!(reported, expected, "{name}");
    }
}

/// A name, the left edges of a second person and of the first one when seen again, the colour of that picture, and the starts
/// (ms, track).
type Return<'a> = (&'a str, Option<f32>, f32, Option<[u8; 3]>, &'a [(i64, u64)]);

#[test]
fn a_person_who_turned_while_hidden_is_the_same_within_a_walk_unless_another_looks_as_similar() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    let table: [Return<'_>; 7] = [
        ("a walk away", None, 310.0, Some(GREY), &[(200, 1)]),
        ("a walk away, with a little more light", None, 310.0, Some(LIT), &[(200, 1)]),
        ("beyond a walk", None, 360.0, Some(GREY), &[(200, 1), (2_200, 2)]),
        ("with other colours", None, 310.0, Some(BLUE), &[(200, 1), (2_600, 2)]),
        ("colours are not known", None, 310.0, None, &[(200, 1), (2_200, 2)]),
        ("another looks the same", Some(500.0), 310.0, Some(GREY), &[(200, 1), (200, 2)]),
        ("another looks more like it", Some(500.0), 310.0, Some(LIT), &[(200, 1), (200, 2), (2_200, 3)]),
    ];
    for (name, other, place, colour, expected) in table {
        let (mut state, mut reported) = (DecideState::default(), Vec::new());
        for ms in (0..3_000).step_by(200) {
            let left = match ms {
                0..=1_000 => Some(200.0),
                1_200..2_000 => None,
                _ => Some(place),
            };
            let people: Vec<_> = left.into_iter().chain(other).map(person).collect();
            let picture = if ms <= 1_000 { Some(GREY) } else { colour }.map(Plain::new);
            let picture = picture.as_ref().map(Plain::view);
            let outcome = pictured(&mut state, &rules, ms, &people, picture);
            reported.extend(starts(&outcome).iter().map(|event| (ms, event.payload.extras.track_id)));
        }
        assert_eq!(reported, expected, "{name}");
    }
}

#[test]
fn a_box_upon_a_known_object_starts_an_incident_after_half_a_second() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    for (name, place, until_ms, expected) in [
        ("a second box that soon goes", 215.0, 1_400, &[(200, 1)][..]),
        ("a person who stays", 215.0, 3_000, &[(200, 1), (1_600, 2)]),
        ("a person beside it", 240.0, 3_000, &[(200, 1), (1_200, 2)]),
    ] {
        let (mut state, mut reported) = (DecideState::default(), Vec::new());
        for ms in (0..3_000).step_by(200) {
            let second = (1_000..=until_ms).contains(&ms).then_some(place);
            let people: Vec<_> = [200.0].into_iter().chain(second).map(person).collect();
            let tracks = started(&mut state, &rules, ms, GREY, &people);
            reported.extend(tracks.into_iter().map(|track| (ms, track)));
        }
        assert_eq!(reported, expected, "{name}");
    }
}

/// Of a known person and a faint newcomer, only one is seen from 2 s.
#[test]
fn a_newcomer_that_lay_upon_a_lost_object_can_be_the_same_although_both_were_seen_apart() {
    let confirm = Confirm { frames: 2, window: 3, iou_threshold: 0.3, median_conf: 0.7 };
    let rules = Rules { cooldown_ms: 1_500, confirm, ..rules() };
    let at_place = |x: f32, conf: f32| seen("person", conf, (x, 100.0, 50.0, 100.0));
    for (name, places, expected) in [
        ("it lay upon the lost object", (240.0, 222.0), &[(200, 1)][..]),
        ("it was always apart", (255.0, 255.0), &[(200, 1), (2_600, 2)]),
    ] {
        let (mut state, mut reported) = (DecideState::default(), Vec::new());
        for ms in (0..3_000).step_by(200) {
            let people = match ms {
                0..800 => vec![at_place(200.0, 0.9)],
                800..1_600 => vec![at_place(200.0, 0.9), at_place(255.0, 0.6)],
                1_600..1_800 => vec![at_place(200.0, 0.9), at_place(places.0, 0.6)],
                1_800..2_000 => vec![at_place(200.0, 0.9), at_place(places.1, 0.9)],
                _ => vec![at_place(places.1, 0.9)],
            };
            let tracks = started(&mut state, &rules, ms, GREY, &people);
            reported.extend(tracks.into_iter().map(|track| (ms, track)));
        }
        assert_eq!(reported, expected, "{name}");
    }
}

#[test]
fn a_box_that_hides_the_middle_of_an_object_covers_it() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    let behind = seen("person", 0.9, (200.0, 100.0, 50.0, 100.0)).bbox;
    for (name, front, is_covered) in [
        ("in front of most of it", (190.0, 120.0, 50.0, 130.0), true),
        ("behind it", (190.0, 60.0, 50.0, 130.0), false),
        ("in front of a part of it", (170.0, 120.0, 50.0, 130.0), false),
        ("a second box of the same object", (202.0, 102.0, 50.0, 100.0), false),
    ] {
        let detections = [person(200.0), seen("car", 0.9, front)];
        let sightings = at(&mut DecideState::default(), &rules, 0, &detections).sightings;
        let person = sightings.iter().find(|sighting| sighting.bbox == behind).unwrap();
        assert_eq!(person.is_covered, is_covered, "{name}");
    }
}

#[test]
fn an_obstacle_does_not_change_the_appearance_of_an_object() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    let car = seen("car", 0.9, (190.0, 120.0, 60.0, 130.0));
    let (mut state, mut tracks) = (DecideState::default(), Vec::new());
    for frame in 0..24 {
        let (colour, seen) = match frame {
            0..6 => (GREY, vec![person(200.0)]),
            6..14 => (BLUE, vec![person(200.0), car.clone()]),
            14..16 => (BLUE, vec![car.clone()]),
            _ => (GREY, vec![person(265.0), car.clone()]),
        };
        tracks.extend(started(&mut state, &rules, frame * 200, colour, &seen));
    }
    assert_eq!(tracks, [1, 2], "a person and a car: the person who emerges is the one that went behind it");
}

/// Boxes of a man of the yard clip who walks left behind a sign: only his head and shoulders are seen last.
const CUT_OFF_BY_THE_SIGN: [(i64, [f32; 4]); 8] = [
    (0, [469.0, 177.0, 500.0, 249.0]),
    (200, [461.0, 175.0, 486.0, 246.0]),
    (400, [448.0, 174.0, 473.0, 242.0]),
    (600, [439.0, 174.0, 463.0, 242.0]),
    (800, [431.0, 172.0, 451.0, 204.0]),
    (1_200, [400.0, 165.0, 422.0, 233.0]),
    (1_400, [380.0, 166.0, 414.0, 235.0]),
    (1_600, [371.0, 163.0, 394.0, 232.0]),
];

#[test]
fn an_object_that_was_cut_off_last_has_its_usual_height_where_it_emerges() {
    let rules = confirmed_by(2, 3);
    let (mut state, mut tracks) = (DecideState::default(), Vec::new());
    for (ms, [x1, y1, x2, y2]) in CUT_OFF_BY_THE_SIGN {
        let man = seen("person", 0.8, (x1, y1, x2 - x1, y2 - y1));
        tracks.extend(started(&mut state, &rules, ms, GREY, &[man]));
    }
    assert_eq!(tracks, [1]);
}
