use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::block::LocalBlock;
use crate::chunk::{decode, decode_integer};
use crate::model::{Labels, METRIC_NAME, SampleBuffer, TimeInterval, Timestamp, is_stale_nan};

/// Two blocks of a little of everything.
fn workload() -> Workload {
    Workload {
        counters: 103,
        gauges: 47,
        classic_histograms: 5,
        native_histograms: 7,
        pod_info: true,
        range: TimeRange { mint: 1_767_225_600_000, maxt: 1_767_225_600_000 + 4 * 3_600_000 },
        ..Workload::default()
    }
}

fn written(workload: Workload, threads: usize) -> (tempfile::TempDir, Vec<BlockMeta>) {
    let folder = tempfile::tempdir().unwrap();
    let metas = Generator::try_new(workload).unwrap().write_all(folder.path(), threads, &|_| ()).unwrap();
    (folder, metas)
}

/// Every file below a folder, by path.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// All series of blocks, by labels, with the blocks' samples joined in the order of the metas.
fn series(folder: &Path, metas: &[BlockMeta]) -> BTreeMap<Labels, SampleBuffer> {
    let mut all: BTreeMap<Labels, SampleBuffer> = BTreeMap::new();
    for meta in metas {
        let block = LocalBlock::open(&folder.join(meta.id().to_string())).unwrap();
        let mut cursor = block.index().all_series();
        while let Some(entry) = cursor.next().unwrap() {
            let out = all.entry(Labels::from_pairs(entry.labels.iter().copied())).or_default();
            for chunk in entry.chunks {
                let stored = block.chunk(chunk.chunk).unwrap();
                decode(stored.encoding, &stored.data, TimeInterval::ALL, out).unwrap();
            }
        }
    }
    all
}

fn of<'a>(series: &'a BTreeMap<Labels, SampleBuffer>, name: &str) -> Vec<(&'a Labels, &'a SampleBuffer)> {
    series.iter().filter(|(labels, _)| labels.get(METRIC_NAME).as_deref() == Some(name)).collect()
}

#[test]
fn the_same_workload_gives_the_same_bytes() {
    let busy = Workload { churn: 0.5, replicas: 2, containers: 2, ..workload() };
    let (first, metas) = written(busy.clone(), 1);
    let (second, _) = written(busy.clone(), 3);
    assert!(files(first.path()) == files(second.path()));
    // a block alone, and over what is there
    let alone = tempfile::tempdir().unwrap();
    let generator = Generator::try_new(busy.clone()).unwrap();
    let meta = generator.write_block(3, alone.path(), &|_| ()).unwrap();
    assert_eq!(meta, metas[3]);
    let name = meta.id().to_string();
    assert!(files(&alone.path().join(&name)) == files(&first.path().join(&name)));
    assert_eq!(generator.write_all(first.path(), 2, &|_| ()).unwrap(), metas);
    // another seed, other blocks
    let (_other, others) = written(Workload { seed: 2, ..busy }, 2);
    assert!(metas.iter().all(|meta| others.iter().all(|other| other.id() != meta.id())));
}

#[test]
fn sizes_are_those_asked_for() {
    let (folder, metas) = written(workload(), 2);
    assert_eq!(metas.len(), 2);
    let expected = [
        ("http_request_duration_seconds", 7),
        ("http_request_duration_seconds_bucket", 5 * 12),
        ("http_request_duration_seconds_count", 5),
        ("http_request_duration_seconds_sum", 5),
        ("http_requests_total", 103),
        ("kube_pod_info", 3),
    ];
    let all = series(folder.path(), &metas);
    for (name, count) in expected {
        assert_eq!(of(&all, name).len(), count, "{name}");
    }
    let nodes = all.keys().filter(|labels| labels.get("job").as_deref() == Some("node-exporter")).count();
    assert_eq!(nodes, 47);
    for meta in &metas {
        let counted = 7 + 60 + 10 + 103 + 3 + 47;
        assert_eq!(meta.stats.num_series, counted);
        // without churn and replicas not one scrape is missing
        assert_eq!(meta.stats.num_samples, counted * 480);
        assert_eq!(meta.stats.num_histogram_samples, 7 * 480);
        assert!(meta.thanos.is_none());
    }
    assert_eq!(Workload::default().samples_estimate(), 57_600_000);
    assert_eq!(workload().samples_estimate(), metas.iter().map(|meta| meta.stats.num_samples).sum::<u64>());
}

#[test]
fn labels_are_those_of_a_cluster() {
    let (folder, metas) = written(workload(), 2);
    let all = series(folder.path(), &metas);
    let names =
        |metric: &str| -> Vec<String> { of(&all, metric)[0].0.iter().map(|(name, _)| name.into_owned()).collect() };
    let requests = ["__name__", "cluster_zone", "code", "instance", "job", "namespace", "path", "pod"];
    assert_eq!(names("http_requests_total"), requests);
    assert_eq!(names("kube_pod_info"), ["__name__", "instance", "job", "namespace", "node", "pod"]);
    assert_eq!(names("node_load1"), ["__name__", "instance", "job"]);
    let (folder, metas) = written(Workload { containers: 2, gauges: 0, ..workload() }, 2);
    let containers: BTreeSet<String> = of(&series(folder.path(), &metas), "http_requests_total")
        .iter()
        .map(|(labels, _)| labels.get("container").unwrap().into_owned())
        .collect();
    assert_eq!(containers.into_iter().collect::<Vec<_>>(), ["app", "proxy"]);
}

#[test]
fn counters_count_and_fall_only_to_zero() {
    // enough containers for restarts
    let (folder, metas) = written(Workload { pods: Some(90), ..workload() }, 2);
    let all = series(folder.path(), &metas);
    let (mut resets, mut rises) = (0, 0);
    for (labels, samples) in of(&all, "http_requests_total") {
        assert_eq!(samples.len(), 960);
        assert!(samples.timestamps.windows(2).all(|pair| (14_990..15_010).contains(&(pair[1] - pair[0]))), "{labels}");
        for pair in samples.floats.windows(2) {
            rises += usize::from(pair[1] > pair[0]);
            if pair[1] < pair[0] {
                resets += 1;
                assert!(pair[1] < 15.0 * 2.0 * 130.0, "{labels} falls to {}", pair[1]);
            }
        }
        assert!(samples.floats.iter().all(|v| v.fract() == 0.0));
    }
    assert!(resets > 0 && rises > 10_000, "{resets} resets, {rises} rises");
}

#[test]
fn histograms_are_whole() {
    let (folder, metas) = written(workload(), 2);
    let all = series(folder.path(), &metas);
    let counts = of(&all, "http_request_duration_seconds_count");
    for (labels, count) in &counts {
        let bucket = |le: &str| {
            let name = labels.with(METRIC_NAME, "http_request_duration_seconds_bucket").with("le", le);
            &all[&name].floats
        };
        assert_eq!(bucket("+Inf"), &count.floats);
        for pair in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0"].windows(2) {
            assert!(bucket(pair[0]).iter().zip(bucket(pair[1])).all(|(low, high)| low <= high));
        }
    }
    for (labels, samples) in of(&all, "http_request_duration_seconds") {
        assert_eq!(samples.histograms.len(), samples.len(), "{labels}");
        for pair in samples.histograms.windows(2) {
            let (before, after) = (&pair[0].1, &pair[1].1);
            assert!(after.count >= before.count || after.count < before.count / 2.0 + 4000.0, "{labels}");
            assert_eq!(after.count, after.positive_buckets.iter().sum::<f64>(), "{labels}");
        }
    }
    // as integers, which is how clients have them
    let block = LocalBlock::open(&folder.path().join(metas[0].id().to_string())).unwrap();
    let mut cursor = block.index().all_series();
    let entry = cursor.next().unwrap().unwrap();
    let stored = block.chunk(entry.chunks[0].chunk).unwrap();
    let mut integers = Vec::new();
    decode_integer(stored.encoding, &stored.data, TimeInterval::ALL, &mut integers).unwrap();
    assert_eq!(integers.len(), 120);
    assert!(integers.iter().all(|(_, histogram)| histogram.to_float().validate().is_ok()));
}

#[test]
fn replicas_see_the_same_at_other_moments() {
    let labels = vec![("cluster".to_owned(), "eu".to_owned())];
    let (folder, metas) = written(Workload { replicas: 2, external_labels: labels, ..workload() }, 2);
    assert_eq!(metas.len(), 4);
    for (meta, replica) in metas.iter().zip(["r0", "r0", "r1", "r1"]) {
        let external = meta.external_labels();
        assert_eq!((external.get("cluster"), external.get("replica")), (Some("eu"), Some(replica)));
    }
    let (first, second) = (series(folder.path(), &metas[..2]), series(folder.path(), &metas[2..]));
    assert!(first.keys().eq(second.keys()));
    let mut lost = 0;
    for (labels, one) in of(&first, "http_requests_total") {
        let other = &second[labels];
        let shared: BTreeSet<Timestamp> = one.timestamps.iter().copied().collect();
        assert!(other.timestamps.iter().filter(|t| shared.contains(t)).count() < 10, "{labels}");
        lost += 2 * 960 - one.len() - other.len();
        // one counter: in the order of time the two never contradict each other but at resets
        let both: BTreeMap<Timestamp, f64> = [one, other]
            .iter()
            .flat_map(|samples| samples.timestamps.iter().copied().zip(samples.floats.iter().copied()))
            .collect();
        let values: Vec<f64> = both.into_values().collect();
        assert!(values.windows(2).filter(|pair| pair[1] < pair[0]).count() <= 2, "{labels}");
    }
    assert!((1..103 * 100).contains(&lost), "{lost}");
}

#[test]
fn pods_come_and_go() {
    let (folder, metas) = written(Workload { churn: 0.5, pods: Some(20), ..workload() }, 2);
    let all = series(folder.path(), &metas);
    let info = of(&all, "kube_pod_info");
    assert!((25..=50).contains(&info.len()), "{}", info.len());
    let gone = info.iter().filter(|(_, samples)| is_stale_nan(*samples.floats.last().unwrap())).count();
    assert_eq!(gone, info.len() - 20);
    for (labels, samples) in &info {
        let stale = samples.floats.iter().filter(|v| is_stale_nan(**v)).count();
        assert!(stale <= 1, "{labels}");
    }
    // a new pod starts from zero
    let born = of(&all, "http_requests_total")
        .into_iter()
        .filter(|(_, samples)| samples.timestamps[0] > metas[0].min_time + 30_000)
        .filter(|(_, samples)| samples.floats[0] < 4000.0);
    assert!(born.count() > 20);
}

#[test]
fn gauges_stay_where_they_belong() {
    let (folder, metas) = written(Workload { gauges: 90, ..workload() }, 2);
    let all = series(folder.path(), &metas);
    for (labels, total) in of(&all, "node_memory_MemTotal_bytes") {
        let available = &all[&labels.with(METRIC_NAME, "node_memory_MemAvailable_bytes")];
        assert!(available.floats.iter().zip(&total.floats).all(|(part, all)| *part > 0.0 && part < all), "{labels}");
        assert!(available.floats.windows(2).any(|pair| pair[0] != pair[1]));
    }
    let loads = of(&all, "node_load1");
    assert!(loads.iter().all(|(_, samples)| samples.floats.iter().all(|load| (0.0..20.0).contains(load))));
}

#[test]
fn ranges_need_not_be_whole_blocks() {
    let range = TimeRange { mint: 1_767_225_600_000 - 90 * 60_000, maxt: 1_767_225_600_000 + 60_000 };
    let (_folder, metas) = written(Workload { range, gauges: 0, ..workload() }, 2);
    let ranges: Vec<(i64, i64, u64)> = metas
        .iter()
        .map(|meta| {
            ((meta.min_time - range.mint) / 60_000, (meta.max_time - range.mint) / 60_000, meta.stats.num_samples)
        })
        .collect();
    let counted = 7 + 60 + 10 + 103 + 3;
    assert_eq!(ranges, [(0, 90, counted * 360), (90, 91, counted * 4)]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (wrong, part) in [
        (Workload { churn: 1.5, ..workload() }, "churn"),
        (Workload { churn: f64::NAN, ..workload() }, "churn"),
        (Workload { replicas: 0, ..workload() }, "replicas"),
        (Workload { containers: 0, ..workload() }, "containers"),
        (Workload { jitter_ms: 15_000, ..workload() }, "jitter"),
        (Workload { scrape_interval_ms: 0, ..workload() }, "scrape interval"),
        (Workload { block_duration_ms: 1, ..workload() }, "block"),
        (Workload { counters: u64::MAX, ..workload() }, "2^30"),
        (Workload { pods: Some(1), counters: 1 << 20, ..workload() }, "65,535"),
        (Workload { range: TimeRange { mint: 5, maxt: 5 }, ..workload() }, "time range"),
        (Workload { range: TimeRange { mint: i64::MIN, maxt: i64::MAX }, ..workload() }, "time range"),
        (Workload { range: TimeRange { mint: 0, maxt: 1 << 47 }, block_duration_ms: 15_000, ..workload() }, "blocks"),
        (Workload { external_labels: vec![("a".to_owned(), String::new())], ..workload() }, "external label"),
    ] {
        let error = Generator::try_new(wrong).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let (folder, metas) = written(
        Workload { counters: 0, gauges: 0, classic_histograms: 0, native_histograms: 0, pod_info: false, ..workload() },
        1,
    );
    assert_eq!(metas.len(), 2);
    assert!(series(folder.path(), &metas).is_empty());
}

#[test]
fn promtool_reads_what_was_generated() {
    let (folder, metas) = written(Workload { churn: 0.3, pods: Some(9), containers: 2, ..workload() }, 2);
    // promtool opens a data directory, which has a WAL
    std::fs::create_dir(folder.path().join("wal")).unwrap();
    let promtool = |command: &str| Command::new("promtool").args(["tsdb", command]).arg(folder.path()).output();
    let dump = match promtool("dump") {
        Ok(output) => output,
        Err(e) => {
            eprintln!("skipped: promtool does not run: {e}");
            return;
        }
    };
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let lines = String::from_utf8(dump.stdout).unwrap().lines().filter(|line| line.starts_with('{')).count() as u64;
    let total = |of: fn(&BlockMeta) -> u64| metas.iter().map(of).sum::<u64>();
    let floats = total(|meta| meta.stats.num_float_samples);
    // versions before 2.46 leave native histograms out
    let all = total(|meta| meta.stats.num_samples);
    assert!(lines == floats || lines == all, "{lines} lines, {floats} floats, {all} samples");
    let analyze = promtool("analyze").unwrap();
    assert!(analyze.status.success(), "{}", String::from_utf8_lossy(&analyze.stderr));
    let report = String::from_utf8(analyze.stdout).unwrap();
    let last = metas.last().unwrap();
    assert!(report.contains(&format!("Series: {}\n", last.stats.num_series)), "{report}");
}

/// [`BlockWriter`] checks it too, but not for so many pods and nodes.
#[test]
fn series_are_in_the_order_of_their_labels() {
    let workload =
        Workload { gauges: 10_020 * SERIES_PER_NODE, pods: Some(300), containers: 5, churn: 0.3, ..workload() };
    let generator = Generator::try_new(workload).unwrap();
    let targets = Targets { workload: &generator.workload, root: generator.root, blocks: &generator.ranges };
    let population = Population::new(&generator.workload, targets.containers(1), targets.nodes(10_020));
    let mut last = None;
    for family in Family::all() {
        let paths = population.paths(family);
        for series in population.series(family) {
            let labels = population.labels(family, series, &paths);
            assert!(last.as_ref().is_none_or(|last| *last < labels), "{labels} after {last:?}");
            last = Some(labels);
        }
    }
}
