//! A cut that nobody waits for any more.

use std::task::Poll;

use super::*;

/// Polls `work` so many times, with room for others in between, and drops it. Whether it came to its end.
async fn poll_some(work: impl Future, polls: usize) -> bool {
    let mut work = std::pin::pin!(work);
    for _ in 0..polls {
        let ended = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await;
        if ended {
            return true;
        }
        tokio::task::yield_now().await;
        // what other threads do for it takes some time
        std::thread::yield_now();
    }
    false
}

#[tokio::test]
async fn a_cut_that_is_dropped_anywhere_cuts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(6 * HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    let tenants: Vec<String> = (0..3).map(|n| format!("t{n}")).collect();
    for tenant in &tenants {
        write(&tsdb, tenant, 2, 0, 6 * HOUR).await;
    }
    let (mut polls, mut dropped) = (1, 0);
    while !poll_some(tsdb.cut(Cut::Everything), polls).await {
        (polls, dropped) = (polls + 1 + polls / 4, dropped + 1);
    }
    assert!(dropped > 3, "it was never dropped in the middle");
    tsdb.cut(Cut::Everything).await.unwrap();
    let mut all = BTreeMap::new();
    for tenant in &tenants {
        all.extend(expected(tenant, 2, 0, 6 * HOUR));
        let mut ranges = Vec::new();
        for entry in std::fs::read_dir(folder.path().join(tenant)).unwrap() {
            let Ok(json) = std::fs::read(entry.unwrap().path().join("meta.json")) else { continue };
            let meta = BlockMeta::try_parse(&json, "block").unwrap();
            ranges.push((meta.min_time, meta.max_time, meta.stats.num_samples));
        }
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{tenant}: {ranges:?}");
        assert_eq!(ranges.iter().map(|(_, _, samples)| samples).sum::<u64>(), 2 * 6 * 60, "{tenant}: {ranges:?}");
    }
    assert_eq!(read(&tsdb).await, all);
    assert_eq!(tsdb.head().stats().series, 0);
}
