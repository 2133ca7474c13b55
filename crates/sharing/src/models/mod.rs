//! Models: stateright explores the step functions of this crate under every order of messages, loss, repeats and crashes.
//!
//! Each model runs the code that production runs. Time is abstract: a timer may fire at any moment after it was set.

mod pool;
mod write_ahead;

use stateright::{Model, Property};

/// A property of one state of a model.
type StateProperty<M> = fn(&M, &<M as Model>::State) -> bool;

/// Returns the four promises that every model has to keep.
fn promises<M: Model>(
    one_id: StateProperty<M>,
    nothing_lost: StateProperty<M>,
    order: StateProperty<M>,
    no_stale_news: StateProperty<M>,
) -> Vec<Property<M>> {
    vec![
        Property::always("one id", one_id),
        Property::always("nothing lost", nothing_lost),
        Property::always("order", order),
        Property::always("no stale news", no_stale_news),
    ]
}
