//! The one place where the trainer computes: a thread of its own, because libtorch blocks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::platform::Executor;
use crate::trainer::{TrainError, Trainer};

/// Jobs that may wait for the thread: a handful, because callers await each answer, or leave one job behind.
const QUEUE: usize = 16;

type Job = Box<dyn FnOnce(&mut dyn Trainer) + Send>;

/// A handle to the trainer. Its thread ends when the handle is dropped.
pub struct Engine(Kind);

enum Kind {
    Thread(mpsc::Sender<Job>),
    Inline { trainer: Mutex<Box<dyn Trainer>>, job: Duration },
}

/// The trainer's thread has ended, which it does only by panicking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the compute thread panicked")]
pub struct Ended;

impl Engine {
    /// Makes the trainer where it will compute.
    pub async fn start(
        place: Executor,
        make: impl FnOnce() -> Result<Box<dyn Trainer>, TrainError> + Send + 'static,
    ) -> Result<Result<Engine, TrainError>, Ended> {
        if let Executor::Inline { job } = place {
            return Ok(make().map(|trainer| Engine(Kind::Inline { trainer: Mutex::new(trainer), job })));
        }
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let (made, outcome) = oneshot::channel();
        let thread = std::thread::Builder::new().name("compute".into());
        let body = move || match make() {
            Ok(mut trainer) => {
                let _ = made.send(Ok(()));
                while let Some(job) = queue.blocking_recv() {
                    job(trainer.as_mut());
                }
            }
            Err(error) => {
                let _ = made.send(Err(error));
            }
        };
        thread.spawn(body).map_err(|_| Ended)?;
        Ok(outcome.await.map_err(|_| Ended)?.map(|()| Engine(Kind::Thread(jobs))))
    }

    /// Has something computed, after everything that was asked for before, whether or not that is still awaited.
    pub async fn run<T: Send + 'static>(
        &self,
        compute: impl FnOnce(&mut dyn Trainer) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let jobs = match &self.0 {
            Kind::Thread(jobs) => jobs,
            Kind::Inline { trainer, job } => {
                let computed = compute(trainer.lock().unwrap_or_else(PoisonError::into_inner).as_mut());
                tokio::time::sleep(*job).await;
                return Ok(computed);
            }
        };
        let (done, outcome) = oneshot::channel();
        let job: Job = Box::new(move |trainer| {
            let _ = done.send(compute(trainer));
        });
        jobs.send(job).await.map_err(|_| Ended)?;
        outcome.await.map_err(|_| Ended)
    }
}
