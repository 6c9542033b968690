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
    let mut answered = false;
    while !events.is_closed() {
        match watch(&url, &events, &mut answered).await {
            Ok(true) => return,
            // Told once, until there is an answer again.
            Err(error) if std::mem::take(&mut answered) => {
                if events.send(Event::Silent(error)).await.is_err() {
                    return;
                }
            }
            Ok(false) | Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

/// One connection; whether the run is over.
async fn watch(url: &str, events: &mpsc::Sender<Event>, answered: &mut bool) -> Result<bool, ClientError> {
    let client = Client::connect(url).await?;
    let mut statuses = client.watch().await?;
    while let Ok(next) = timeout(QUIET, statuses.next()).await {
        let Some(status) = next? else { break };
        let over = status.ended();
        *answered = true;
        if events.send(Event::Status(Box::new(status))).await.is_err() || over {
            return Ok(true);
        }
    }
    Ok(false)
}
