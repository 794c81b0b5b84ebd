//! What Prometheus's own tool reads in the blocks that were cut: the same floats, bit for bit. Native histograms are left out by
//! older versions of it, so they are not looked at.

use std::io::Read;
use std::process::Command;

use super::*;

/// The bits of values by label set and time.
type Floats = BTreeMap<(String, i64), u64>;

/// The floats in what `promtool tsdb dump` prints: labels, value and time of a sample a line.
fn floats(dump: &str) -> Floats {
    let mut found = Floats::new();
    for line in dump.lines().filter(|line| !line.contains("} {")) {
        let (labels, sample) = line.rsplit_once('}').unwrap();
        let (value, t) = sample.trim().split_once(' ').unwrap();
        let bits = value.parse::<f64>().unwrap().to_bits();
        let before = found.insert((labels.to_owned(), t.parse().unwrap()), bits);
        assert_eq!(before, None, "twice: {line}");
    }
    found
}

/// The floats that promtool finds in the blocks of a folder; nothing where there is no promtool. It also analyses them.
fn dumped(tenant: &Path) -> Option<Floats> {
    // promtool opens a data directory, which has a log
    std::fs::create_dir(tenant.join(WAL_DIR)).unwrap();
    let promtool = |command: &str| Command::new("promtool").args(["tsdb", command]).arg(tenant).output();
    let dump = match promtool("dump") {
        Ok(dump) => dump,
        Err(error) => {
            eprintln!("skipped: promtool does not run: {error}");
            return None;
        }
    };
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let analyzed = promtool("analyze").unwrap();
    assert!(analyzed.status.success(), "{}", String::from_utf8_lossy(&analyzed.stderr));
    Some(floats(&String::from_utf8(dump.stdout).unwrap()))
}

#[tokio::test]
async fn promtool_reads_the_blocks_that_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(4 * HOUR));
    let (tsdb, _) = open(folder.path(), &clock).await;
    write(&tsdb, "a", 3, 0, 4 * HOUR).await;
    assert_eq!(tsdb.cut(Cut::Everything).await.unwrap().len(), 2);
    let Some(found) = dumped(&folder.path().join("a")) else { return };
    let labels = |n: usize| format!("{{__name__=\"m\", n=\"{n}\"");
    let times = || (0..4 * HOUR).step_by(MINUTE as usize);
    let expected = (0..3).flat_map(|n| times().map(move |t| ((labels(n), t), (t as f64).to_bits())));
    assert_eq!(found, expected.collect());
}

/// What a Prometheus left in its log and head chunks, cut here.
#[tokio::test]
async fn promtool_reads_the_blocks_that_are_cut_from_what_prometheus_wrote() {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let golden = Path::new(&shared).join("golden");
    let folder = tempfile::tempdir().unwrap();
    copy_all(&golden.join("data-dir"), folder.path());
    let (tsdb, _) = open(folder.path(), &Arc::new(ManualClock::new(0))).await;
    let blocks = tsdb.cut(Cut::Everything).await.unwrap();
    let begin = blocks.iter().map(|block| block.meta.min_time).min().unwrap();
    let samples: u64 = blocks.iter().map(|block| block.meta.stats.num_float_samples).sum();
    let Some(found) = dumped(&folder.path().join("default-tenant")) else { return };
    let mut text = String::new();
    let file = std::fs::File::open(golden.join("data-dir.dump.txt.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut expected = floats(&text);
    // the hours before are in a block of Prometheus's own
    expected.retain(|(_, t), _| *t >= begin);
    assert_eq!((expected.len() as u64, samples), (25_080, 25_080));
    assert!(found == expected, "{} floats of {}", found.len(), expected.len());
}
