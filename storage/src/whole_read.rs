//! Reads from an object store that are cut short are failures of the store, not damage of what is stored: the next try may be whole.

use bytes::Bytes;
use object_store::{Error, GetResult, Result};

/// All bytes that an object store said would come.
///
/// # Errors
/// The store's, and one where fewer or more came.
pub(crate) async fn whole(read: GetResult) -> Result<Bytes> {
    let expected = read.range.end.saturating_sub(read.range.start);
    let location = read.meta.location.clone();
    let bytes = read.bytes().await?;
    check(&location, expected, bytes.len() as u64)?;
    Ok(bytes)
}

/// Whether as many bytes of an object came as were said to come.
///
/// # Errors
/// Where they did not.
pub(crate) fn check(location: &object_store::path::Path, expected: u64, came: u64) -> Result<()> {
    if expected == came {
        return Ok(());
    }
    let source = format!("{location}: {came} of {expected} bytes came").into();
    Err(Error::Generic { store: "short read", source })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use object_store::memory::InMemory;
    use object_store::{GetResultPayload, ObjectStoreExt};

    use super::*;

    #[tokio::test]
    async fn a_read_that_is_cut_short_fails() {
        let (store, path) = (InMemory::new(), object_store::path::Path::from("a"));
        store.put(&path, vec![7; 10].into()).await.unwrap();
        assert_eq!(whole(store.get(&path).await.unwrap()).await.unwrap().len(), 10);
        let mut read = store.get(&path).await.unwrap();
        read.payload = GetResultPayload::Stream(futures::stream::iter([Ok(Bytes::from_static(b"777"))]).boxed());
        let error = whole(read).await.unwrap_err().to_string();
        assert!(error.contains("a: 3 of 10 bytes came"), "{error}");
    }
}
