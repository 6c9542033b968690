//! The one thread that owns the trainer. libtorch blocks, so it never runs on the async runtime.

use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::trainer::{TrainError, Trainer};

/// Jobs that may wait for the thread.
const QUEUE: usize = 16;

type Job = Box<dyn FnOnce(&mut dyn Trainer) + Send>;

/// A handle to the trainer's thread, which ends when the handle is dropped.
pub struct Engine {
    jobs: mpsc::SyncSender<Job>,
}

/// The trainer's thread has ended, which it does only by panicking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the compute thread panicked")]
pub struct Ended;

impl Engine {
    /// Starts the thread and makes the trainer on it.
    pub async fn start(
        make: impl FnOnce() -> Result<Box<dyn Trainer>, TrainError> + Send + 'static,
    ) -> Result<Result<Engine, TrainError>, Ended> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        let (made, outcome) = oneshot::channel();
        let thread = std::thread::Builder::new().name("compute".into());
        let body = move || match make() {
            Ok(mut trainer) => {
                let _ = made.send(Ok(()));
                for job in queue {
                    job(trainer.as_mut());
                }
            }
            Err(error) => {
                let _ = made.send(Err(error));
            }
        };
        thread.spawn(body).map_err(|_| Ended)?;
        Ok(outcome.await.map_err(|_| Ended)?.map(|()| Engine { jobs }))
    }

    /// Runs something on the thread, after everything that was asked for before.
    ///
    /// The queue is bounded: callers await each answer, so it holds a few jobs at most.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut dyn Trainer) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let (done, outcome) = oneshot::channel();
        let job: Job = Box::new(move |trainer| {
            let _ = done.send(job(trainer));
        });
        self.jobs.try_send(job).map_err(|_| Ended)?;
        outcome.await.map_err(|_| Ended)
    }
}
