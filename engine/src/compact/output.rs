//! Writes what a plan puts out into one block or several at once.
//!
//! ```text
//! plan ── batches ─┬─> queue ─> thread: BlockWriter ── parts ──> BlockUpload ─┐          each what is of its resolution
//!                  └─> queue ─> thread: BlockWriter ── parts ──> BlockUpload ─┴─ all whole? ─> commit, one after the other
//! ```

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use futures::future::try_join_all;
use storage::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use storage::model::{Labels, Timestamp};
use storage::schema::SeriesColumns;
use storage::shipper::BlockUpload;
use tokio::sync::mpsc;

use super::downsample::resolution_of;
use super::{JobSettings, Output, Progress};
use crate::error::{Error, Result};

/// Batches that wait for a writer.
const BATCHES_AHEAD: usize = 2;

/// What a writer is sent.
enum Message {
    Batch(RecordBatch),
    /// The plan has ended, and not in an error.
    End,
}

/// One block while it is written.
pub(super) struct OutputWriter {
    upload: BlockUpload,
    messages: mpsc::Sender<Message>,
    written: SpawnedTask<Result<Option<BlockMeta>>>,
}

impl OutputWriter {
    /// Runs `plan`, which has one partition, into `outputs`, and commits them in their order.
    pub(super) async fn write_all(
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        outputs: Vec<Output>,
        settings: &JobSettings,
        progress: &dyn Progress,
        now: Timestamp,
    ) -> Result<Vec<BlockMeta>> {
        let resolutions: Vec<i64> = outputs.iter().map(|output| output.meta.resolution_ms()).collect();
        let writers: Vec<Self> =
            outputs.into_iter().map(|output| Self::begin(output, settings)).collect::<Result<_>>()?;
        let (mut uploads, mut queues, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for writer in writers {
            uploads.push(writer.upload);
            queues.push(writer.messages);
            written.push(writer.written);
        }
        let feed = async move {
            let mut batches = plan.execute(0, context)?;
            while let Some(batch) = batches.try_next().await? {
                let resolution_ms = resolution_of(&batch);
                if resolution_ms.is_none() || resolution_ms.as_ref() == resolutions.first() {
                    progress.written(batch.num_rows() as u64, bytes(&batch)?);
                }
                for (queue, output_ms) in queues.iter().zip(&resolutions) {
                    if resolution_ms.is_some_and(|resolution_ms| resolution_ms != *output_ms) {
                        continue;
                    }
                    // a writer that has ended says itself why
                    if queue.send(Message::Batch(batch.clone())).await.is_err() {
                        return Ok(());
                    }
                }
            }
            for queue in &queues {
                let _ = queue.send(Message::End).await;
            }
            Ok::<_, Error>(())
        };
        let receive = async { try_join_all(uploads.iter_mut().map(BlockUpload::receive)).await.map_err(Error::from) };
        let joined = async {
            let joined = written.into_iter().map(|task| async {
                task.join().await.map_err(|error| Error::Internal(format!("a block's writer: {error}")))?
            });
            try_join_all(joined).await
        };
        let ((), _, metas) = tokio::try_join!(feed, receive, joined)?;
        let mut committed = Vec::new();
        for (upload, meta) in uploads.into_iter().zip(metas) {
            if let Some(meta) = meta {
                committed.push(upload.commit(meta, now).await?);
            }
        }
        Ok(committed)
    }

    fn begin(output: Output, settings: &JobSettings) -> Result<Self> {
        let (writer, upload) = BlockUpload::create(output.meta, BlockWriterSettings::default(), &settings.upload)?;
        let (messages, received) = mpsc::channel(BATCHES_AHEAD);
        let written = SpawnedTask::spawn_blocking(move || write(writer, received));
        Ok(Self { upload, messages, written })
    }
}

/// Writes what comes, and finishes the block when all has come; none where nothing did.
fn write(mut writer: BlockWriter, mut messages: mpsc::Receiver<Message>) -> Result<Option<BlockMeta>> {
    loop {
        match messages.blocking_recv() {
            Some(Message::Batch(batch)) => push(&mut writer, &batch)?,
            Some(Message::End) if writer.stats().num_series == 0 => return Ok(None),
            Some(Message::End) => return Ok(Some(writer.finish()?)),
            None => return Err(Error::Canceled("writing a block")),
        }
    }
}

/// Series without chunks are left out.
fn push(writer: &mut BlockWriter, batch: &RecordBatch) -> Result<()> {
    let columns = SeriesColumns::try_new(batch)?;
    for row in 0..batch.num_rows() {
        let chunks = columns.chunk_range(row);
        if chunks.is_empty() {
            continue;
        }
        let payload = |chunk: usize| ChunkPayload {
            mint: columns.mint.value(chunk),
            maxt: columns.maxt.value(chunk),
            encoding: columns.encoding.value(chunk),
            data: columns.data.value(chunk),
        };
        writer.push(&Labels::from_key(columns.labels.value(row)), chunks.map(payload))?;
    }
    Ok(())
}

/// Bytes of the chunks of a batch.
fn bytes(batch: &RecordBatch) -> Result<u64> {
    let columns = SeriesColumns::try_new(batch)?;
    let chunks = columns.chunk_range(0).start..columns.chunk_range(batch.num_rows().saturating_sub(1)).end;
    Ok(chunks.map(|chunk| u64::from(columns.data.views()[chunk] as u32)).sum())
}
