//! Who is scraped: the containers of pods that come and go, and nodes that stay.
//!
//! Pods live in slots. In each block some slots, drawn by the churn, have their pod replaced at a random moment: the old
//! one's series end, with a staleness marker, and the new one has another name and address. Also in each block some
//! containers restart, which sets their counters to zero. When a pod was made and when a container last
//! restarted is found by asking the blocks before, back to the first; pods of before that are up to a week older.

use super::seed::Seed;
use super::workload::Workload;
use crate::model::{TimeRange, Timestamp};

/// Pods of a job.
const PODS_PER_JOB: u64 = 8;
/// Jobs of a namespace.
const JOBS_PER_NAMESPACE: u64 = 4;
/// Pods of a node.
const PODS_PER_NODE: u64 = 20;
/// How likely a container restarts within a block.
const RESTARTS: f64 = 0.02;
/// How long a replacement takes to come up.
const START_MS: i64 = 10_000;
/// How much older the oldest pods are than the data.
const AGE_MAX_MS: i64 = 7 * 86_400_000;

const JOBS: [&str; 20] = [
    "accounts",
    "adverts",
    "api-gateway",
    "basket",
    "billing",
    "catalogue",
    "checkout",
    "currency",
    "delivery",
    "email",
    "frontend",
    "inventory",
    "login",
    "orders",
    "payment",
    "quotes",
    "recommendation",
    "search",
    "sessions",
    "shipping",
];
const NAMESPACES: [&str; 6] = ["shop", "identity", "logistics", "media", "platform", "finance"];
const CONTAINERS: [&str; 4] = ["app", "proxy", "cache", "logger"];
const ZONES: [&str; 3] = ["eu-west-1a", "eu-west-1b", "eu-west-1c"];
/// What random parts of pod names are made of.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// One endpoint that is scraped.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// What all its series are drawn from.
    pub seed: Seed,
    /// Its place among all targets of its kind, which its successor inherits: decides which series it has.
    pub position: u64,
    /// When it can be scraped.
    pub alive: TimeRange,
    /// From when on its counters count, at the beginning of the block.
    pub counts_from: Timestamp,
    /// When they fall to zero in this block.
    pub restart: Option<Timestamp>,
    /// What identifies it.
    pub names: Names,
}

impl Target {
    /// From when on its counters count at `t`.
    pub fn counts_from(&self, t: Timestamp) -> Timestamp {
        self.restart.filter(|restart| *restart <= t).unwrap_or(self.counts_from)
    }
}

/// The labels of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub zone: &'static str,
    /// Empty where pods have just one.
    pub container: String,
    pub instance: String,
    pub job: String,
    pub namespace: &'static str,
    pub node: String,
    pub pod: String,
}

/// All targets, over all blocks.
#[derive(Debug)]
pub(super) struct Targets<'a> {
    pub workload: &'a Workload,
    pub root: Seed,
    pub blocks: &'a [TimeRange],
}

/// The pod that a slot holds: made in a block, or before the first.
#[derive(Clone, Copy)]
struct Pod {
    slot: u64,
    made_in: Option<usize>,
    alive: TimeRange,
}

impl Targets<'_> {
    /// The containers that can be scraped in a block.
    pub fn containers(&self, block: usize) -> Vec<Target> {
        let slots = 0..self.workload.pod_count();
        let pods = slots.flat_map(|slot| self.pods(slot, block).into_iter().flatten());
        pods.flat_map(|pod| (0..self.workload.containers).map(move |c| self.container(pod, c, block))).collect()
    }

    /// The nodes that carry `count` node exporters.
    pub fn nodes(&self, count: u64) -> Vec<Target> {
        let node = |position: u64| Target {
            seed: self.root.named("node").child(position),
            position,
            alive: TimeRange { mint: 0, maxt: Timestamp::MAX },
            counts_from: 0,
            restart: None,
            names: Names { instance: format!("{}:9100", node_name(position)), ..Names::default() },
        };
        (0..count).map(node).collect()
    }

    /// When the pod of a slot is replaced in a block, if it is. Early enough for a staleness marker in the same block.
    fn replaced(&self, slot: u64, block: usize) -> Option<Timestamp> {
        let seed = self.root.named("replaced").child(slot).child(block as u64);
        let TimeRange { mint, maxt } = self.blocks[block];
        (seed.fraction() < self.workload.churn)
            .then(|| mint + seed.child(0).below_ms(maxt - mint - 2 * self.workload.scrape_interval_ms))
    }

    /// The pods that a slot holds in a block: one, or one and its replacement.
    fn pods(&self, slot: u64, block: usize) -> [Option<Pod>; 2] {
        let replaced = self.replaced(slot, block);
        let made = (0..block).rev().find_map(|earlier| Some((earlier, self.replaced(slot, earlier)?)));
        let age_ms = self.root.named("age").child(slot).below_ms(AGE_MAX_MS);
        let first = self.blocks.first().map_or(0, |range| range.mint);
        let mint = made.map_or(first - age_ms, |(_, t)| t + START_MS);
        let alive = TimeRange { mint, maxt: replaced.unwrap_or(Timestamp::MAX) };
        let old = Pod { slot, made_in: made.map(|(earlier, _)| earlier), alive };
        let new = replaced.map(|t| Pod {
            slot,
            made_in: Some(block),
            alive: TimeRange { mint: t + START_MS, maxt: Timestamp::MAX },
        });
        [Some(old), new]
    }

    fn container(&self, pod: Pod, container: u64, block: usize) -> Target {
        let Pod { slot, made_in, alive } = pod;
        let generation = made_in.map_or(0, |block| block as u64 + 1);
        let seed = self.root.named("container").child(slot).child(generation).child(container);
        let oldest = made_in.unwrap_or(0);
        let restart = |block: usize| self.restart(seed, block).filter(|t| *t > alive.mint);
        let last = (oldest..block).rev().find_map(restart);
        Target {
            seed,
            position: slot * self.workload.containers + container,
            alive,
            counts_from: last.unwrap_or(alive.mint),
            restart: restart(block),
            names: self.names(slot, generation, container),
        }
    }

    fn restart(&self, container: Seed, block: usize) -> Option<Timestamp> {
        let seed = container.named("restart").child(block as u64);
        let TimeRange { mint, maxt } = self.blocks[block];
        (seed.fraction() < RESTARTS).then(|| mint + seed.child(0).below_ms(maxt - mint))
    }

    fn names(&self, slot: u64, generation: u64, container: u64) -> Names {
        let job_number = slot / PODS_PER_JOB;
        let job = numbered(&JOBS, job_number);
        let seed = self.root.named("pod").child(slot).child(generation);
        let deployment = self.root.named("deployment").child(job_number);
        let pods = self.workload.pod_count();
        let address = slot + pods.saturating_mul(generation);
        let byte = |shift: u32| (address >> shift) & 0xff;
        Names {
            zone: pick(&ZONES, slot),
            container: if self.workload.containers > 1 { numbered(&CONTAINERS, container) } else { String::new() },
            instance: format!(
                "{}.{}.{}.{}:{}",
                10 + (address >> 24) % 200,
                byte(16),
                byte(8),
                byte(0),
                8080 + container
            ),
            pod: format!("{job}-{}-{}", letters(deployment, 9), letters(seed, 5)),
            namespace: pick(&NAMESPACES, job_number / JOBS_PER_NAMESPACE),
            node: node_name(seed.named("node").below(pods.div_ceil(PODS_PER_NODE))),
            job,
        }
    }
}

fn node_name(number: u64) -> String {
    format!("node-{:04}", number + 1)
}

fn pick(names: &'static [&'static str], number: u64) -> &'static str {
    names[usize::try_from(number % names.len() as u64).unwrap_or(0)]
}

/// The names in turn, with a number from the second turn on.
pub(super) fn numbered(names: &'static [&'static str], number: u64) -> String {
    let name = pick(names, number);
    match number / names.len() as u64 {
        0 => name.to_owned(),
        turn => format!("{name}-{}", turn + 1),
    }
}

fn letters(seed: Seed, count: u64) -> String {
    let letter = |i| LETTERS[usize::try_from(seed.child(i).below(LETTERS.len() as u64)).unwrap_or(0)];
    (0..count).map(|i| char::from(letter(i))).collect()
}
