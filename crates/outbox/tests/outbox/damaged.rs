//! Damaged outboxes: named kinds of damage, and random ones.

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};
use test_support::invariants::damaged_outbox::check;

/// Returns damages of one kind at every `step`th offset.
fn sweep(kind: u8, step: usize, until: u32, length: u8, value: u8) -> Vec<Vec<u8>> {
    let offsets = (0..until).step_by(step).map(u32::to_le_bytes);
    offsets.map(|[a, b, c, d]| vec![kind, a, b, c, d, length, value]).collect()
}

#[test]
fn a_damaged_outbox_keeps_its_contents_or_is_refused() {
    let cases = [
        ("no damage", vec![Vec::new()], true),
        ("one byte of the header", sweep(4, 1, 320, 0, 1), false),
        ("a header of zeros", sweep(2, 1, 1, 0, 0), false),
        ("a byte anywhere", sweep(0, 1_009, 400_000, 0, 0x80), false),
        ("cut off", sweep(1, 9_001, 400_000, 0, 0), false),
        ("a lost sector", sweep(2, 4_096, 400_000, 0, 0), false),
        ("a page in a wrong place", sweep(3, 4_096, 400_000, 0, 2), false),
    ];
    for (name, damages, opens) in cases {
        let opened = damages.iter().filter(|damage| check(damage)).count();
        println!("{name}: {opened} of {} opened", damages.len());
        assert!(
            if opens { opened == damages.len() } else { opened < damages.len() },
            "{name}: {opened} opened"
        );
    }
}

#[test]
fn random_damage_never_panics_or_changes_contents() {
    let cases = std::env::var("OUTBOX_CASES").map_or(300, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&vec(any::<u8>(), 0..70), |input| {
        check(&input);
        Ok(())
    });
    outcome.unwrap();
}
