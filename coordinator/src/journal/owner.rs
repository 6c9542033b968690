//! Asking a run's owner whether it lives.

use std::time::Duration;

use futures::future::BoxFuture;
use headstart::client::Client;

/// Longest wait for an answer. A live owner answers at once; a paused one counts as dead, and its commits will fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an owner says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Name of its run.
    pub run_id: String,
    /// Its term.
    pub epoch: u64,
}

/// Asks the coordinator at an address for its identity; `None` without an answer in time.
pub type Dial = Box<dyn Fn(String) -> BoxFuture<'static, Option<Answer>> + Send + Sync>;

/// Asks over the network.
pub fn dial() -> Dial {
    Box::new(|address| {
        Box::pin(async move {
            let asked = async {
                let status = Client::connect(&address).await.ok()?.status().await.ok()?;
                Some(Answer { run_id: status.run_id, epoch: status.coordinator_epoch })
            };
            tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
        })
    })
}
