//! Identity of objects: by looks that are hidden, that emerge and that are covered, and by boxes that are cut off.

use super::*;

const GREY: [u8; 3] = [110, 128, 128];
const BLUE: [u8; 3] = [47, 192, 112];

/// A name, where somebody comes into sight (left edge) and with which colours, and who starts when (ms).
type Newcomer<'a> = (&'a str, f32, &'a [[u8; 3]], &'a [(i64, u64)]);

/// The tracks whose incidents start in a look at people in a picture of one colour, which is theirs.
fn started(state: &mut State, rules: &Rules, ms: i64, colour: [u8; 3], people: &[Detection]) -> Vec<u64> {
    let picture = Plain::new(colour);
    let outcome = pictured(state, rules, ms, people, Some(picture.view()));
    starts(&outcome).iter().map(|event| event.payload.extras.track_id).collect()
}

#[test]
fn a_newcomer_near_who_has_vanished_has_half_a_second_to_show_that_it_is_that_one() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    let table: [Newcomer<'_>; 6] = [
        ("as before", 260.0, &[GREY; 5], &[(200, 1)]),
        ("its first sighting shows what hid it", 260.0, &[BLUE, GREY, GREY, GREY, GREY], &[(200, 1)]),
        ("its first two sightings show that", 260.0, &[BLUE, BLUE, GREY, GREY, GREY], &[(200, 1)]),
        ("it looks otherwise for long", 260.0, &[BLUE; 5], &[(200, 1), (2_000, 2)]),
        ("it looks like that one too late", 260.0, &[BLUE, BLUE, BLUE, BLUE, GREY], &[(200, 1), (2_000, 2)]),
        ("it comes far from there", 400.0, &[BLUE; 5], &[(200, 1), (1_600, 2)]),
    ];
    for (name, place, colours, expected) in table {
        let stood = [(GREY, Some(200.0)); 6].into_iter().chain([(GREY, None)]);
        let looks = stood.chain(colours.iter().map(|colour| (*colour, Some(place))));
        let (mut state, mut reported) = (State::default(), Vec::new());
        for (ms, (colour, left)) in (0..).step_by(200).zip(looks) {
            let people: Vec<_> = left.map(person).into_iter().collect();
            let tracks = started(&mut state, &rules, ms, colour, &people);
            reported.extend(tracks.into_iter().map(|track| (ms, track)));
        }
        assert_eq!(reported, expected, "{name}");
    }
}

#[test]
fn who_is_covered_keeps_the_looks_of_before() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    let behind = seen("person", 0.9, (200.0, 100.0, 50.0, 100.0)).bbox;
    for (name, front, is_covered) in [
        ("in front of most of it", (190.0, 120.0, 50.0, 130.0), true),
        ("behind it", (190.0, 60.0, 50.0, 130.0), false),
        ("in front of a part of it", (170.0, 120.0, 50.0, 130.0), false),
        ("a second box of the same", (202.0, 102.0, 50.0, 100.0), false),
    ] {
        let detections = [person(200.0), seen("car", 0.9, front)];
        let sightings = at(&mut State::default(), &rules, 0, &detections).sightings;
        let person = sightings.iter().find(|sighting| sighting.bbox == behind).unwrap();
        assert_eq!(person.is_covered, is_covered, "{name}");
    }
}

#[test]
fn what_covers_somebody_does_not_change_who_it_is() {
    let rules = Rules { cooldown_ms: 1_500, ..confirmed_by(2, 3) };
    let car = seen("car", 0.9, (190.0, 120.0, 60.0, 130.0));
    let (mut state, mut tracks) = (State::default(), Vec::new());
    for look in 0..24 {
        let (colour, seen) = match look {
            0..6 => (GREY, vec![person(200.0)]),
            6..14 => (BLUE, vec![person(200.0), car.clone()]),
            14..16 => (BLUE, vec![car.clone()]),
            _ => (GREY, vec![person(265.0), car.clone()]),
        };
        tracks.extend(started(&mut state, &rules, look * 200, colour, &seen));
    }
    assert_eq!(tracks, [1, 2], "a person and a car: the person who comes out is the one that went behind it");
}

/// A man of the yard clip, who walks left behind a sign: only his head and shoulders are seen last.
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
fn what_was_cut_off_last_has_its_usual_height_where_it_comes_out() {
    let rules = confirmed_by(2, 3);
    let (mut state, mut tracks) = (State::default(), Vec::new());
    for (ms, [x1, y1, x2, y2]) in CUT_OFF_BY_THE_SIGN {
        let man = seen("person", 0.8, (x1, y1, x2 - x1, y2 - y1));
        tracks.extend(started(&mut state, &rules, ms, GREY, &[man]));
    }
    assert_eq!(tracks, [1]);
}
