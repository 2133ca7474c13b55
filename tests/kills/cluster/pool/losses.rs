//! Losses of single workers: each comes to a pool in which nothing else is wrong, and in which every camera is live.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use test_support::polling::until_every;

use super::{ASK, MAX_DEATHS, PATIENCE, PoolRound, SlotState};
use crate::cluster::timeline::{Life, PoolFigures, is_shown};

/// The time for which no camera has moved before the next loss.
const QUIET: Duration = Duration::from_secs(3);
/// The time until a lost worker starts again.
const AWAY: Duration = Duration::from_secs(1);

impl PoolRound<'_> {
    /// Kills workers and asks workers to end, in turns, `losses` of them, each once the loss before it is made good; stops the pool,
    /// and returns the times without a worker.
    pub(crate) async fn lose_one_by_one(mut self, losses: usize, random: &mut StdRng) -> PoolFigures {
        self.clear_weather().await;
        for loss in 0..losses {
            let cameras = self.settle().await;
            let victim = *cameras.values().choose(random).unwrap();
            self.lose(victim, loss % 2 == 0).await;
        }
        self.settle().await;
        self.stop_all().await;
        std::fs::remove_dir_all(&self.logs).unwrap();
        PoolFigures::of(&self.moments.lock().unwrap())
    }

    /// Kills a worker or asks it to end. A camera whose owners died one after the other would be taken for the cause.
    async fn lose(&mut self, victim: usize, by_kill: bool) {
        let is_killed = by_kill && self.deaths_of_cameras(victim).await < MAX_DEATHS;
        let slot = &mut self.slots[victim];
        if is_killed {
            slot.kill(AWAY);
        } else {
            slot.terminate(Some(AWAY));
        }
        self.note(&format!("worker {victim}: {}", if is_killed { "killed" } else { "asked to end" }));
    }

    /// Waits until all workers run, each camera has shown a frame at its owner, and none has moved since a while; returns the slot of
    /// each camera's owner.
    async fn settle(&mut self) -> BTreeMap<String, usize> {
        let awaited = format!("a pool at rest ({})", self.logs.display());
        until_every(ASK, PATIENCE, &awaited, async || {
            self.do_what_is_due().await;
            let running = self.slots.iter().filter(|slot| slot.state != SlotState::Absent);
            if running.clone().any(|slot| !slot.is_calm() || slot.worker.id().is_none()) {
                return Err("a worker does not run".to_owned());
            }
            let last = self.moments.lock().unwrap().last().map(|moment| moment.at);
            if last.is_none_or(|at| at + QUIET > Instant::now()) {
                return Err("a camera has just moved".to_owned());
            }
            self.owners().await
        })
        .await
    }

    /// Returns the slot of each camera's owner; fails if a camera has none, or none that has shown a frame.
    async fn owners(&self) -> Result<BTreeMap<String, usize>, String> {
        let mut owners = BTreeMap::new();
        let items = self.aws.camera_items().await;
        for camera in &self.cameras {
            let owner = items.get(camera.id).and_then(|item| item.get("owner")?.as_s().ok());
            let slot =
                self.slots.iter().position(|slot| owner.is_some() && slot.worker.id().as_ref() == owner);
            let shown = slot.filter(|slot| self.has_shown(self.slots[*slot].worker.life(), camera.id));
            owners.insert(camera.id.to_owned(), shown.ok_or_else(|| format!("no frame of {}", camera.id))?);
        }
        Ok(owners)
    }

    fn has_shown(&self, life: Option<Life>, camera: &str) -> bool {
        life.is_some_and(|life| is_shown(camera, life, &self.moments.lock().unwrap()))
    }
}
