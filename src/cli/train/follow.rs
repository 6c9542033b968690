//! Follows the coordinator's status for as long as it has one.

use std::time::Duration;

use headstart::client::{Client, ClientError};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::phase::Event;

/// Time between two attempts. Early ones fail: the coordinator listens before it has loaded the weights.
const RETRY: Duration = Duration::from_millis(500);
/// The coordinator has news every second; after so long without any the connection is opened anew.
const QUIET: Duration = Duration::from_secs(30);

/// Sends each status to `events` until the run is over or the receiver is dropped; the supervisor limits the silence.
pub(in crate::cli) async fn follow(url: String, events: mpsc::Sender<Event>) {
    while !events.is_closed() {
        // Whatever went wrong, the supervisor sees the coordinator's process and judges by that.
        if let Ok(true) = watch(&url, &events).await {
            return;
        }
        sleep(RETRY).await;
    }
}

/// One connection; whether the run is over.
async fn watch(url: &str, events: &mpsc::Sender<Event>) -> Result<bool, ClientError> {
    let client = Client::connect(url).await?;
    let mut statuses = client.watch().await?;
    while let Ok(next) = timeout(QUIET, statuses.next()).await {
        let Some(status) = next? else { break };
        let over = status.ended();
        if events.send(Event::Status(Box::new(status))).await.is_err() || over {
            return Ok(true);
        }
    }
    Ok(false)
}
