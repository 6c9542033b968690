//! An object store in memory that stops dead at one of its writes, before it or after it, as if whoever wrote had been
//! killed there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

/// The store. Its objects outlive the trap.
#[derive(Debug)]
pub struct Trap {
    objects: Arc<InMemory>,
    writes: AtomicU64,
    at: Option<StopPoint>,
    sprung: Arc<Notify>,
}

/// A moment in the life of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopPoint {
    /// Which write, counted from 0.
    pub write: u64,
    /// Whether it has been made.
    pub after: bool,
}

impl Trap {
    /// A store that stops at a place, if there is one.
    pub fn new(objects: Arc<InMemory>, at: Option<StopPoint>) -> Trap {
        Trap { objects, writes: AtomicU64::new(0), at, sprung: Arc::default() }
    }

    /// Writes begun so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Told when the place is reached.
    pub fn sprung(&self) -> Arc<Notify> {
        self.sprung.clone()
    }

    async fn stop_at(&self, place: StopPoint) {
        if self.at == Some(place) {
            self.sprung.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a trap around {}", self.objects)
    }
}

#[tonic::async_trait]
impl ObjectStore for Trap {
    async fn put_opts(&self, key: &Path, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        let write = self.writes.fetch_add(1, Ordering::SeqCst);
        self.stop_at(StopPoint { write, after: false }).await;
        let done = self.objects.put_opts(key, bytes, options).await;
        self.stop_at(StopPoint { write, after: true }).await;
        done
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
