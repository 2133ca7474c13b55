//! A bounded queue whose oldest items give way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A queue of at most `limit` units of weight; the newest item is always taken, whatever its weight.
pub(super) fn queue<T>(limit: usize) -> (Inlet<T>, Outlet<T>) {
    let inner = Inner { items: VecDeque::new(), weight: 0, closed: false };
    let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Notify::new(), limit });
    (Inlet(Arc::clone(&shared)), Outlet(shared))
}

/// Where items go in. The queue closes when it is dropped.
#[derive(Debug)]
pub(super) struct Inlet<T>(Arc<Shared<T>>);

/// Where items come out.
#[derive(Debug)]
pub(super) struct Outlet<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    inner: Mutex<Inner<T>>,
    changed: Notify,
    limit: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<(T, usize)>,
    weight: usize,
    closed: bool,
}

impl<T> Inlet<T> {
    /// Adds an item; tells how many older ones gave way.
    pub(super) fn push(&self, item: T, weight: usize) -> u64 {
        let mut inner = self.0.lock();
        let mut dropped = 0;
        while inner.weight + weight > self.0.limit && inner.take().is_some() {
            dropped += 1;
        }
        inner.weight += weight;
        inner.items.push_back((item, weight));
        self.0.changed.notify_one();
        dropped
    }
}

impl<T> Drop for Inlet<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl<T> Outlet<T> {
    /// The oldest item; `None` once the queue is closed and empty. Cancelling the wait loses nothing.
    pub(super) async fn pop(&mut self) -> Option<T> {
        loop {
            {
                let mut inner = self.0.lock();
                if let Some(item) = inner.take() {
                    return Some(item);
                }
                if inner.closed {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    fn take(&mut self) -> Option<T> {
        let (item, weight) = self.items.pop_front()?;
        self.weight -= weight;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_give_way_by_weight() {
        let (inlet, mut outlet) = queue(10);
        let dropped = [("a", 4), ("b", 4), ("c", 4), ("heavy", 99), ("d", 1)]
            .map(|(item, weight)| inlet.push(item, weight));
        assert_eq!(dropped, [0, 0, 1, 2, 1]);
        drop(inlet);
        assert_eq!((outlet.pop().await, outlet.pop().await), (Some("d"), None));
    }

    #[tokio::test]
    async fn what_is_pushed_while_waiting_is_seen_and_so_is_the_end() {
        let (inlet, mut outlet) = queue(10);
        let taking = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(item) = outlet.pop().await {
                taken.push(item);
            }
            taken
        });
        for item in 0..5 {
            inlet.push(item, 1);
            tokio::task::yield_now().await;
        }
        drop(inlet);
        assert_eq!(taking.await.unwrap(), [0, 1, 2, 3, 4]);
    }
}
