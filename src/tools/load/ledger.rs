//! The ledger: which requests were acknowledged, on disk.
//!
//! ```text
//! {"ledger":"quiver load 1","seed":1,"series":1000000,…}     what every sample can be recomputed from
//! 17 34000 35999 1767225615000                               batch, first slot, last slot, timestamp
//! ```
//!
//! A line is written after the acknowledgement and synced by a thread of its own, many at a time, so that syncing here does not
//! slow what is measured. What a crash of this process loses is therefore claims, never samples claimed wrongly. A last line
//! without its end is no line.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::workload::Workload;

const FORM: &str = "quiver load 1";
/// How long lines are gathered for one sync.
const GATHERED: Duration = Duration::from_millis(50);

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    ledger: String,
    seed: u64,
    series: u64,
    labels: usize,
    churn: f64,
    batch: u64,
    tenants: u64,
    tenant_header: String,
    start_ms: i64,
    interval_ms: i64,
}

/// One acknowledged request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Which series.
    pub batch: u64,
    /// When.
    pub t: i64,
}

/// A ledger that is being written.
pub struct Ledger {
    lines: Option<Sender<Acknowledged>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Ledger {
    /// Begins a ledger.
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create(path: &Path, workload: &Workload, tenant_header: &str) -> anyhow::Result<Self> {
        let what = || format!("cannot write the ledger {}", path.display());
        let mut file = OpenOptions::new().append(true).create_new(true).open(path).with_context(what)?;
        let head = Head {
            ledger: FORM.to_owned(),
            seed: workload.seed,
            series: workload.series,
            labels: workload.labels,
            churn: workload.churn,
            batch: workload.batch,
            tenants: workload.tenants,
            tenant_header: tenant_header.to_owned(),
            start_ms: workload.start_ms,
            interval_ms: workload.interval_ms,
        };
        writeln!(file, "{}", serde_json::to_string(&head)?).with_context(what)?;
        file.sync_all().with_context(what)?;
        let (lines, received) = channel();
        let workload = workload.clone();
        let writing = move || write_lines(&mut file, &workload, &received);
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(writing)?;
        Ok(Self { lines: Some(lines), thread: Some(thread) })
    }

    /// Enters an acknowledged request.
    ///
    /// # Errors
    /// Where the ledger could not be written; [`finish`](Self::finish) says why.
    pub fn enter(&self, acknowledged: Acknowledged) -> anyhow::Result<()> {
        let sent = self.lines.as_ref().is_some_and(|lines| lines.send(acknowledged).is_ok());
        ensure!(sent, "the ledger cannot be written any more");
        Ok(())
    }

    /// Waits until everything is synced.
    ///
    /// # Errors
    /// Where that failed.
    pub fn finish(mut self) -> anyhow::Result<()> {
        drop(self.lines.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.context("cannot write the ledger"),
            _ => anyhow::bail!("the ledger's thread broke off"),
        }
    }
}

fn write_lines(file: &mut File, workload: &Workload, lines: &Receiver<Acknowledged>) -> anyhow::Result<()> {
    while let Ok(first) = lines.recv() {
        // they gather while this waits, unless the load ends
        let mut gathered = vec![first];
        let began = std::time::Instant::now();
        while let Some(left) = GATHERED.checked_sub(began.elapsed())
            && let Ok(next) = lines.recv_timeout(left)
        {
            gathered.push(next);
        }
        let mut text = String::with_capacity(gathered.len() * 48);
        for Acknowledged { batch, t } in gathered {
            let slots = workload.slots(batch);
            text.push_str(&format!("{batch} {} {} {t}\n", slots.start, slots.end.saturating_sub(1)));
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
    }
    Ok(())
}

/// A ledger that was read.
#[derive(Debug)]
pub struct Entries {
    /// What the samples come from.
    pub workload: Workload,
    /// The header that names tenants.
    pub tenant_header: String,
    /// The rounds that were acknowledged, in order, by batch.
    pub rounds: BTreeMap<u64, Vec<u64>>,
}

/// Reads a ledger.
///
/// # Errors
/// Where it is none, or a line contradicts the first one.
pub fn read(path: &Path) -> anyhow::Result<Entries> {
    let file = File::open(path).with_context(|| format!("cannot read the ledger {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let head: Head = serde_json::from_str(&line).context("this is no ledger of quiver tools load")?;
    ensure!(head.ledger == FORM, "a ledger of the form {:?}, which this build cannot read", head.ledger);
    let workload = Workload {
        seed: head.seed,
        series: head.series,
        labels: head.labels,
        churn: head.churn,
        batch: head.batch,
        tenants: head.tenants,
        start_ms: head.start_ms,
        interval_ms: head.interval_ms,
    };
    let workload = workload.try_new().context("the ledger's first line")?;
    let mut rounds: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for number in 2_u64.. {
        line.clear();
        if reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            break;
        }
        let (batch, round) =
            parse(&workload, &line).with_context(|| format!("line {number} of the ledger: {line:?}"))?;
        rounds.entry(batch).or_default().push(round);
    }
    for rounds in rounds.values_mut() {
        rounds.sort_unstable();
        rounds.dedup();
    }
    Ok(Entries { workload, tenant_header: head.tenant_header, rounds })
}

fn parse(workload: &Workload, line: &str) -> anyhow::Result<(u64, u64)> {
    let numbers = line.split_whitespace().map(str::parse::<i64>).collect::<Result<Vec<_>, _>>()?;
    let [batch, first, last, t] = numbers[..] else { anyhow::bail!("it has not four numbers") };
    let (batch, first, last) = (u64::try_from(batch)?, u64::try_from(first)?, u64::try_from(last)?);
    ensure!(workload.slots(batch) == (first..last.saturating_add(1)), "the batch has other series");
    Ok((batch, workload.round(t).context("no timestamp of this load")?))
}

#[cfg(test)]
mod tests {
    use super::super::workload::tests::small;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let load = small();
        let ledger = Ledger::create(&path, &load, "THANOS-TENANT").unwrap();
        for (batch, round) in [(0, 0), (4, 0), (4, 2), (4, 1), (4, 1)] {
            ledger.enter(Acknowledged { batch, t: load.time(round).unwrap() }).unwrap();
        }
        ledger.finish().unwrap();
        assert!(Ledger::create(&path, &load, "x").is_err(), "a ledger is not written twice");
        let check = |rounds: usize| {
            let entries = read(&path).unwrap();
            assert_eq!((&entries.workload, entries.tenant_header.as_str()), (&load, "THANOS-TENANT"));
            assert_eq!(entries.rounds[&0], [0]);
            assert_eq!(entries.rounds[&4].len(), rounds);
        };
        check(3);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        write!(file, "4 240 249 17672257").unwrap();
        check(3);
        writeln!(file, "00000").unwrap();
        assert!(read(&path).is_err(), "no round has this time");
    }

    #[test]
    fn what_is_no_ledger_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        for text in ["", "{}\n", "0 0 1 2\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text:?}");
        }
    }
}
