//! The store as one process sees it: objects in memory, and faults on the way to them that the seed decides.
//!
//! Like the client of a real bucket it repeats a request that fails, so most faults cost only time. What it then reports can
//! be wrong in the ways that are known of such clients: a write that fails may have been done, and one that creates an object
//! may find its own, or be told of one that is not there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use headstart::store::{Environment, Stores};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::dice::Dice;

/// Where every URL of a simulated run begins.
pub const ROOT: &str = "memory://run";
/// Times that a request is repeated.
const REPEATS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(100);
/// A request that hangs takes up to so long: longer than a lease may last.
const HANG: Duration = Duration::from_secs(120);

/// What a store is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Longest ordinary request.
    pub slowest: Duration,
    /// Of a thousand tries, those that fail and are repeated.
    pub failing: u64,
    /// Of a thousand requests, those that fail in spite of that, end short, or hang.
    pub lasting: u64,
}

/// Failures that callers may still see. Three for one lease would end the run, and rightly.
pub type Budget = Arc<AtomicU64>;

/// A process's way to the objects.
#[derive(Debug)]
pub struct Flaky {
    objects: Arc<InMemory>,
    weather: Weather,
    dice: Dice,
    budget: Budget,
}

/// What becomes of a request.
struct Fate {
    /// A try was carried out, but its answer was lost.
    lost: bool,
    /// The last try's.
    end: End,
}

#[derive(PartialEq)]
enum End {
    Well,
    Failed,
    Short,
}

impl Flaky {
    /// Stores in which [`ROOT`] is these objects.
    pub fn stores(objects: Arc<InMemory>, weather: Weather, dice: Dice, budget: Budget) -> Stores {
        let stores = Stores::new(Environment::new([]), Duration::ZERO);
        stores.mount(ROOT, Arc::new(Flaky { objects, weather, dice, budget }));
        stores
    }

    async fn fate(&self) -> Fate {
        let Weather { slowest, failing, lasting } = self.weather;
        let mut lost = false;
        tokio::time::sleep(self.dice.time(slowest)).await;
        for _ in 0..REPEATS {
            if !self.dice.happens(failing) {
                break;
            }
            lost |= self.dice.happens(500);
            tokio::time::sleep(PAUSE + self.dice.time(slowest)).await;
        }
        let end = match self.dice.happens(lasting) && self.spend() {
            false => End::Well,
            true => match self.dice.below(3) {
                0 => End::Failed,
                1 => End::Short,
                _ => {
                    tokio::time::sleep(self.dice.time(HANG)).await;
                    End::Well
                }
            },
        };
        Fate { lost, end }
    }

    fn spend(&self) -> bool {
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

fn failed() -> Error {
    Error::Generic { store: "simulated", source: "503 Service Unavailable".into() }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

#[tonic::async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, place: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let Fate { lost, end } = self.fate().await;
        if lost {
            self.objects.put_opts(place, payload.clone(), options.clone()).await?;
        } else if options.mode == PutMode::Create && self.dice.happens(self.weather.failing) {
            // S3's answer while another request for the object is under way, though none of them may be carried out.
            return Err(Error::AlreadyExists { path: place.to_string(), source: "409 Conflict".into() });
        }
        match end {
            End::Well => self.objects.put_opts(place, payload, options).await,
            End::Failed | End::Short => Err(failed()),
        }
    }

    async fn put_multipart_opts(
        &self,
        place: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(place, options).await
    }

    async fn get_opts(&self, place: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.fate().await;
        if fate.end == End::Failed {
            return Err(failed());
        }
        let found = self.objects.get_opts(place, options).await?;
        if fate.end != End::Short {
            return Ok(found);
        }
        let (meta, range) = (found.meta.clone(), found.range.clone());
        let (attributes, extensions) = (found.attributes.clone(), found.extensions.clone());
        let bytes: Bytes = found.bytes().await?;
        let cut = bytes.slice(..bytes.len() / 2);
        let payload = GetResultPayload::Stream(stream::iter([Ok(cut)]).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, places: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(places)
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
