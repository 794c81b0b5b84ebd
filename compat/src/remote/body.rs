//! Bodies on their way into memory, and how much of it all requests together take for them.
//!
//! ```text
//! received, as it came ──> unpacked ──> visited, once, and let go of ──> waits until it is durable
//!   an eighth of the         twice the limit on a body
//!   limit, and one body
//! ```
//!
//! A limit on each request alone would let 64 of them take 64 times as much. Bodies that are received share an eighth of the limit,
//! byte by byte as they come; where it is used up, one request at a time goes on beyond it, so that none waits for another that
//! waits. Unpacking and visiting never wait for anything, so their share is simply waited for.

use axum::body::Body;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::write::Failure;

/// Which part of the limit on a body is there for bodies that are received.
const RECEIVED_PART: usize = 8;
/// How many bodies of the largest size may be unpacked at once, or one with all that is made of it.
const UNPACKED_FACTOR: usize = 2;

/// The memory for bodies.
#[derive(Debug)]
pub struct BodyMemory {
    /// A permit is a byte.
    received: Semaphore,
    /// Who has its only permit goes on without those.
    beyond: Semaphore,
    /// A permit is a byte.
    unpacked: Semaphore,
    unpacked_max: u32,
}

/// A body as it came.
#[derive(Debug)]
pub struct Received<'m> {
    /// All of it.
    pub bytes: Vec<u8>,
    share: Option<SemaphorePermit<'m>>,
    beyond: Option<SemaphorePermit<'m>>,
}

/// A body that can be visited, with its share of the memory.
#[derive(Debug)]
pub struct Unpacked<'m> {
    bytes: Vec<u8>,
    _share: Option<SemaphorePermit<'m>>,
}

impl BodyMemory {
    /// Memory for bodies of at most `body_max` bytes.
    #[must_use]
    pub fn new(body_max: usize) -> Self {
        let unpacked_max = u32::try_from(body_max.saturating_mul(UNPACKED_FACTOR).max(1)).unwrap_or(u32::MAX);
        Self {
            received: Semaphore::new((body_max / RECEIVED_PART).min(Semaphore::MAX_PERMITS)),
            beyond: Semaphore::new(1),
            unpacked: Semaphore::new(unpacked_max as usize),
            unpacked_max,
        }
    }

    /// Reads a body of at most `max` bytes; `limit` is the one that the answer names.
    ///
    /// # Errors
    /// Where it is longer, or breaks off.
    pub async fn receive(
        &self,
        headers: &HeaderMap,
        body: Body,
        max: usize,
        limit: usize,
    ) -> Result<Received<'_>, Failure> {
        let mut reading = Reading::try_new(headers, body, max, limit)?;
        let mut received = Received { bytes: Vec::new(), share: None, beyond: None };
        while let Some(data) = reading.next().await? {
            if received.beyond.is_none() {
                match self.received.try_acquire_many(u32::try_from(data.len()).unwrap_or(u32::MAX)) {
                    Ok(more) => match &mut received.share {
                        Some(share) => share.merge(more),
                        None => received.share = Some(more),
                    },
                    Err(_) => received.beyond = Some(self.beyond.acquire().await.map_err(|_| stopping())?),
                }
            }
            reading.push(&data, &mut received.bytes);
        }
        Ok(received)
    }

    /// Makes of a body what can be visited. `bytes` is what that and all that is made of it take at most.
    ///
    /// # Errors
    /// Those of `unpack`.
    pub async fn unpack(
        &self,
        received: Received<'_>,
        bytes: usize,
        unpack: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, Failure>,
    ) -> Result<Unpacked<'_>, Failure> {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.unpacked_max);
        let share = self.unpacked.acquire_many(share).await.map_err(|_| stopping())?;
        Ok(Unpacked { bytes: unpack(received.bytes)?, _share: Some(share) })
    }
}

fn stopping() -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping".to_owned())
}

impl From<Vec<u8>> for Unpacked<'_> {
    /// A body that nobody shares memory with.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, _share: None }
    }
}

impl std::ops::Deref for Unpacked<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that is being read.
struct Reading {
    body: Body,
    declared: usize,
    read: usize,
    max: usize,
    limit: usize,
}

impl Reading {
    fn try_new(headers: &HeaderMap, body: Body, max: usize, limit: usize) -> Result<Self, Failure> {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let declared = declared.map_or(Ok(0), usize::try_from).unwrap_or(usize::MAX);
        let reading = Self { body, declared, read: 0, max, limit };
        if declared > max { Err(reading.too_large()) } else { Ok(reading) }
    }

    fn too_large(&self) -> Failure {
        let text = format!("write request too large: more than the limit of {} bytes", self.limit);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| {
                Failure::new(StatusCode::BAD_REQUEST, format!("cannot read the request's body: {error}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > self.max - self.read {
                return Err(self.too_large());
            }
            self.read += data.len();
            return Ok(Some(data));
        }
        Ok(None)
    }

    fn push(&self, data: &[u8], bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.reserve_exact(self.declared.max(data.len()));
        }
        bytes.extend_from_slice(data);
    }
}

/// Reads a body of at most `max` bytes, without a share of the memory; `limit` is the one that the answer names.
///
/// # Errors
/// Where it is longer, or breaks off.
pub async fn read_body(headers: &HeaderMap, body: Body, max: usize, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut reading = Reading::try_new(headers, body, max, limit)?;
    let mut bytes = Vec::new();
    while let Some(data) = reading.next().await? {
        reading.push(&data, &mut bytes);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MAX: usize = 800;

    async fn receive(memory: &BodyMemory, len: usize) -> Received<'_> {
        memory.receive(&HeaderMap::new(), Body::from(vec![7; len]), MAX, MAX).await.unwrap()
    }

    #[tokio::test]
    async fn one_body_at_a_time_goes_beyond_what_all_share() {
        let memory = BodyMemory::new(MAX);
        let small = receive(&memory, 60).await;
        let large = receive(&memory, MAX).await;
        let again = receive(&memory, 40).await;
        assert_eq!((small.bytes.len(), large.bytes.len(), again.bytes.len()), (60, MAX, 40));
        // what all share is used up, and one is beyond it
        let mut waiting = Box::pin(receive(&memory, 1));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(large);
        assert_eq!(waiting.await.bytes.len(), 1);
        drop((small, again));
        assert_eq!((memory.received.available_permits(), memory.beyond.available_permits()), (MAX / 8, 1));
    }

    #[tokio::test]
    async fn what_is_unpacked_waits_for_its_share() {
        let memory = BodyMemory::new(MAX);
        let unpack = async |bytes| {
            let received = receive(&memory, 10).await;
            memory.unpack(received, bytes, Ok).await.unwrap()
        };
        let first = unpack(MAX).await;
        // more than there is takes all of it
        let mut all = Box::pin(unpack(100 * MAX));
        assert!(all.as_mut().now_or_never().is_none());
        drop(first);
        let all = all.await;
        assert!(unpack(0).now_or_never().is_none());
        assert_eq!((&*all, memory.received.available_permits()), (&[7; 10][..], MAX / 8));
        drop(all);
        let refused = memory.unpack(receive(&memory, 1).await, 1, |_| Err(stopping())).await;
        assert_eq!(refused.unwrap_err(), stopping());
        assert_eq!(memory.unpacked.available_permits(), 2 * MAX);
    }
}
