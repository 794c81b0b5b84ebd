//! Plans over the golden bucket, against the buckets that Thanos made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use ulid::Ulid;

use super::*;
use crate::block::BlockMeta;
use crate::bucket::{BlockFilters, FoundBlocks, MetaSync};
use crate::model::{BlockId, Timestamp};

const REPLICA: &str = "replica";

/// What tells a block from others, whatever its name.
type Shape = (i64, String, Timestamp, Timestamp, u32, Vec<BlockId>);

fn shape(meta: &BlockMeta) -> Shape {
    let labels = meta.external_labels().to_labels().to_string();
    let sources = meta.compaction.sources.clone();
    (meta.resolution_ms(), labels, meta.min_time, meta.max_time, meta.compaction.level, sources)
}

async fn found(folder: &Path) -> FoundBlocks {
    let store = Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap());
    MetaSync::new(store, object_store::path::Path::default(), 8).for_compactor().fetch().await.unwrap()
}

/// Plays a compactor that makes only `meta.json` files, until nothing is left to do.
struct Play {
    found: FoundBlocks,
    settings: ViewSettings,
    plans: PlanSettings,
    made: u64,
}

impl Play {
    fn view(&self) -> BucketView {
        BucketView::new(self.found.clone(), self.settings.clone(), 0)
    }

    fn name(&mut self) -> BlockId {
        self.made += 1;
        BlockId::new(Ulid::from_parts(2_000_000_000_000 + self.made, 0))
    }

    /// One step in every group; whether there was one.
    fn compact(&mut self) -> bool {
        let view = self.view();
        let mut worked = false;
        for group in view.groups() {
            // what is made here has no index
            let sizes = self.found.metas.keys().map(|&id| (id, 1)).collect();
            let plan = plan(&group, &self.plans, &view.no_compact(), &sizes);
            assert_eq!(plan.marks, []);
            let inputs = match plan.step {
                Step::Merge(_, inputs) => inputs,
                Step::Nothing => continue,
                step => panic!("{step:?}"),
            };
            worked = true;
            let output = output_meta(self.name(), &group, &inputs);
            self.found.metas.insert(output.id(), Arc::new(output));
            // as if it was cut off before the marks were written: garbage is found by sources
            let garbage: BTreeSet<BlockId> = garbage(&self.view()).iter().map(|pair| pair.id).collect();
            assert_eq!(garbage, inputs.iter().map(|block| block.id()).collect());
            self.found.metas.retain(|id, _| !garbage.contains(id));
        }
        worked
    }

    fn downsample(&mut self) {
        for job in downsampling(&self.view(), &Retention::default()) {
            let output = downsampled_meta(self.name(), &job.block, job.resolution_ms);
            self.found.metas.insert(output.id(), Arc::new(output));
        }
    }
}

async fn check(shared: &Path, expected: &str, replica_labels: &[&str], only: Option<&str>) {
    let mut found_blocks = found(&shared.join("golden/bucket")).await;
    found_blocks
        .metas
        .retain(|_, meta| only.is_none_or(|cluster| meta.external_labels().get("cluster") == Some(cluster)));
    let filters = BlockFilters {
        replica_labels: replica_labels.iter().map(|&label| label.to_owned()).collect(),
        ..BlockFilters::default()
    };
    let settings = ViewSettings { filters, delete_delay_ms: 0 };
    let plans = PlanSettings { vertical: !replica_labels.is_empty(), ..PlanSettings::default() };
    let mut play = Play { found: found_blocks, settings, plans, made: 0 };
    let todo = Progress::of(&play.view(), &play.plans, &Retention::default(), true);
    while play.compact() {}
    assert_eq!(todo.compactions(), play.made, "{expected}");
    let done = Progress::of(&play.view(), &play.plans, &Retention::default(), true);
    assert_eq!((done.compactions(), done.compaction_blocks()), (0, 0));
    play.downsample();
    play.downsample();
    assert_eq!(downsampling(&play.view(), &Retention::default()), []);
    let made: BTreeMap<Shape, ()> = play.view().blocks().values().map(|meta| (shape(meta), ())).collect();
    let thanos = found(&shared.join("golden/compacted").join(expected)).await;
    let thanos: BTreeMap<Shape, ()> = thanos.metas.values().map(|meta| (shape(meta), ())).collect();
    assert!(thanos.len() > 2);
    assert_eq!(made, thanos, "{expected}");
}

#[tokio::test]
async fn plans_come_to_the_blocks_that_thanos_made() {
    let Some(shared) = std::env::var_os("QUIVER_SHARED").map(PathBuf::from) else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    check(&shared, "plain", &[], None).await;
    check(&shared, "penalty", &[REPLICA], None).await;
    check(&shared, "one-to-one", &[REPLICA], Some("eu-1")).await;
}
