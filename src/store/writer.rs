//! Streaming uploads that leave nothing behind when they fail.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use tokio::io::AsyncWriteExt;

use super::StoreError;

/// A large object being written. Dropped unfinished, it is as if it had never begun.
pub struct Writer {
    upload: Option<BufWriter>,
    url: Arc<str>,
}

impl Writer {
    pub(super) fn new(store: Arc<dyn ObjectStore>, key: Path, url: Arc<str>) -> Writer {
        Writer { upload: Some(BufWriter::new(store, key)), url }
    }

    /// Appends bytes; waits while too many parts are in flight.
    pub async fn put(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let upload = self.upload.as_mut().expect("only finish takes the upload, and it takes the writer too");
        let done = upload.put(bytes).await;
        done.map_err(|error| StoreError::from_object(&self.url, error))
    }

    /// Makes the object appear, whole. On failure nothing appears.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let mut upload = self.upload.take().expect("only finish takes the upload");
        let done = upload.shutdown().await;
        done.map_err(|error| match error.downcast::<object_store::Error>() {
            Ok(error) => StoreError::from_object(&self.url, error),
            Err(error) => StoreError::from_io(&self.url, &error),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A multipart upload keeps its parts, and their cost, until somebody aborts it.
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an unfinished upload could not be aborted");
                }
            });
        }
    }
}
